"""The executors that the conformance suite holds to the same behaviour, each ready to run the toy pipeline."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import pytest
from toy_pipeline import ToyWorkload

from candor.executors.base import Executor
from candor.executors.inline import InlineExecutor
from candor.flow.artifact import ArtifactStore
from candor.tracking.recorder import JsonlRecorder


@dataclass(frozen=True)
class Platform:
    """One executor and what it runs on.

    Attributes:
        make: an executor over a store.
        args, environment: how a command line in a process of its own gets the same one.
        replaces_workers: whether it starts a task again whose process was killed.
    """

    name: str
    make: Callable[[ArtifactStore], Executor]
    args: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    replaces_workers: bool = False


@contextmanager
def inline() -> Iterator[Platform]:
    """This process."""
    yield Platform("inline", lambda store: InlineExecutor(store, ToyWorkload().stages, JsonlRecorder))


@contextmanager
def ray() -> Iterator[Platform]:
    """A Ray of this machine with four slots."""
    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers import the toy pipeline by name.
        path = os.pathsep.join(p for p in sys.path if p)
        patch.setenv("PYTHONPATH", path)
        patch.setenv("CANDOR_FORWARD", "TOY_")
        from candor.executors.ray_cluster import connected

        with connected(cpus=4):
            import ray as ray_itself

            from candor.executors.ray import RayExecutor

            yield Platform(
                "ray",
                lambda store: RayExecutor(store, ToyWorkload().stages, JsonlRecorder),
                ("--on", "ray", "--address", ray_itself.get_runtime_context().gcs_address),
                {"PYTHONPATH": path, "CANDOR_FORWARD": "TOY_"},
                replaces_workers=True,
            )


#: A new executor joins the conformance suite by an entry here.
PLATFORMS: dict[str, Callable[[], AbstractContextManager[Platform]]] = {"inline": inline, "ray": ray}
#: Need services that take seconds to start.
SLOW = {"ray"}


def parameters() -> list[object]:
    """One pytest parameter per platform."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [], id=name) for name in PLATFORMS
    ]
