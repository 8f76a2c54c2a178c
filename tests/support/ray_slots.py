"""Rays of this machine for tests that need no more than a few slots."""

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


@contextmanager
def two_nodes() -> Iterator[str]:
    """Two nodes of two slots each, which share nothing but the disk; the address. As private as a Ray of Candor's own."""
    from candor.executors import ray_cluster as own

    with (
        own._environment(own._ALWAYS | own._LOCAL),
        own._private_folder() as folder,
        own._environment(own._token_path(folder)),
    ):
        own._ray()
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "temp_dir": str(folder / "0")}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            cluster.add_node(**node)
            with own.connected(cluster.address):
                yield cluster.address
        finally:
            cluster.shutdown()
