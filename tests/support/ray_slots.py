"""A Ray of this machine for tests that need no more than a few slots."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def three_slots() -> Iterator[None]:
    """Three slots, however many processors the machine has; workers import what this process can."""
    from candor.executors.ray_cluster import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        with connected(cpus=3):
            yield
