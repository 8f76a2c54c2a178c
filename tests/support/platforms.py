"""The executors that the conformance suite holds to the same behaviour, each ready to run the toy pipeline."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from toy_pipeline import SCRIPT, ToyWorkload

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
        after_kill: exit codes of one run after the other when the process of each of two tasks is killed once.
    """

    name: str
    make: Callable[[ArtifactStore], Executor]
    args: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    #: Without workers the launcher dies with each of the two tasks.
    after_kill: tuple[int, ...] = (-signal.SIGKILL, -signal.SIGKILL, 0)


@contextmanager
def inline() -> Iterator[Platform]:
    """This process."""
    yield Platform("inline", lambda store: InlineExecutor(store, ToyWorkload().stages, JsonlRecorder))


@contextmanager
def ray(*, nodes: int = 1) -> Iterator[Platform]:
    """A Ray of this machine with four slots, on one node or on two."""
    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers import the toy pipeline by name.
        path = os.pathsep.join(p for p in sys.path if p)
        patch.setenv("PYTHONPATH", path)
        patch.setenv("CANDOR_FORWARD", "TOY_")
        from ray_slots import two_nodes

        from candor.executors.ray_cluster import connected

        with connected(cpus=4) if nodes == 1 else two_nodes():
            import ray as ray_itself

            from candor.executors.ray import RayExecutor

            assert len(ray_itself.nodes()) == nodes
            yield Platform(
                "ray",
                lambda store: RayExecutor(store, ToyWorkload().stages, JsonlRecorder),
                ("--on", "ray", "--address", ray_itself.get_runtime_context().gcs_address),
                {"PYTHONPATH": path, "CANDOR_FORWARD": "TOY_"},
                after_kill=(0,),
            )


@contextmanager
def slurm(*directives: str) -> Iterator[Platform]:
    """A real SLURM of two nodes; ``directives`` narrow it."""
    from slurm_cluster import available, slurm_cluster

    if not available():
        missing = "needs SLURM, munge, slurmdbd, mariadb-server and iproute2, as root"
        (pytest.fail if os.environ.get("CANDOR_REQUIRE_ALL") == "1" else pytest.skip)(missing)
    from candor.executors.queue import QueueExecutor
    from candor.executors.site import SiteConfig

    passed = ("HOME", "USER", "PATH", "LANG", "PYTHONPATH", "TOY_FAIL", "TOY_DIE", "TOY_WAIT_S", "TOY_HOLD")
    site = SiteConfig(pass_env=passed, poll_s=0.5, on_stop="cancel", extra=directives)
    stated = site.model_dump(mode="json", include={"pass_env", "poll_s", "on_stop", "extra"})
    args = [part for key, value in stated.items() for part in ("--site-set", f"{key}={json.dumps(value)}")]

    def make(store: ArtifactStore) -> Executor:
        return QueueExecutor(store, site, _roots(store), (sys.executable, str(SCRIPT)), sys.prefix)

    with slurm_cluster():
        # Both tasks of the first run are killed at once; the run fails with their records.
        yield Platform("slurm", make, ("--on", "slurm", *args), after_kill=(6, 0))


@contextmanager
def pbs() -> Iterator[Platform]:
    """A fake PBS: no real one could be had. See ``pbs/fake_pbs.py``."""
    from pbs_cluster import fake_pbs

    from candor.executors.pbs_commands import Pbs
    from candor.executors.queue import QueueExecutor
    from candor.executors.site import SiteConfig

    passed = ("HOME", "USER", "PATH", "LANG", "PYTHONPATH", "TOY_FAIL", "TOY_DIE", "TOY_WAIT_S", "TOY_HOLD")
    site = SiteConfig(pass_env=passed, poll_s=0.5, on_stop="cancel", scheduler="pbs")
    stated = site.model_dump(mode="json", include={"pass_env", "poll_s", "on_stop"})
    args = [part for key, value in stated.items() for part in ("--site-set", f"{key}={json.dumps(value)}")]

    def make(store: ArtifactStore) -> Executor:
        roots = _roots(store)
        return QueueExecutor(
            store, site, roots, (sys.executable, str(SCRIPT)), sys.prefix, scheduler=Pbs(patience_s=5.0)
        )

    with TemporaryDirectory() as folder, fake_pbs(Path(folder) / "pbs"):
        yield Platform("pbs", make, ("--on", "pbs", *args), after_kill=(6, 0))


def _roots(store: ArtifactStore) -> dict[str, str]:
    root = store.cache_root.parent
    roots = {"CANDOR_CACHE_ROOT": root / "cache", "CANDOR_RUN_ROOT": root, "CANDOR_DATA_ROOT": root / "data"}
    return {name: str(path) for name, path in roots.items()}


#: A new executor joins the conformance suite by an entry here.
PLATFORMS: dict[str, Callable[[], AbstractContextManager[Platform]]] = {
    "inline": inline,
    "ray": ray,
    "pbs": pbs,
    "ray-two-nodes": partial(ray, nodes=2),
    "slurm": slurm,
    "slurm-one-node": partial(slurm, "--nodelist=node1"),
}
#: Set in a process that runs nothing but the tests of one platform.
APART = "CANDOR_TEST_APART"
#: Need services that take seconds to start.
SLOW = {"ray", "ray-two-nodes", "pbs", "slurm", "slurm-one-node"}


#: On one node, tasks of several kinds compete for the same few processors; on two of Ray, they end far from where one
#: waits. These tests tell; the others would repeat what the other number of nodes says already, and run with CANDOR_LONG=1.
CROWDED = {
    "test_a_plan_runs_to_its_end",
    "test_a_failure_stops_only_what_depends_on_it",
    "test_a_task_whose_process_was_killed_is_done_again_from_its_checkpoint",
    "test_two_plans_at_once_share_what_they_have_in_common",
}


def parameters() -> list[object]:
    """One pytest parameter per platform."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [], id=name) for name in PLATFORMS
    ]


def left_out(test: str, platform: str) -> bool:
    """Whether ``test`` on ``platform`` waits for CANDOR_LONG, or for a process of its own (``test_ray_two_nodes``)."""
    if platform == "ray-two-nodes" and not os.environ.get(APART):
        return True
    return (
        platform in ("ray-two-nodes", "slurm-one-node")
        and test not in CROWDED
        and not os.environ.get("CANDOR_LONG")
    )
