"""Which executors ``--on`` knows, and how each is opened. A new one joins by an entry in ``EXECUTORS``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from candor.cli import output
from candor.cli.session import Session
from candor.config.layers import nearest
from candor.errors import ConfigError

if TYPE_CHECKING:
    from candor.executors.base import Executor
    from candor.executors.display import Display


@dataclass(frozen=True)
class Where:
    """Where a run's tasks go.

    Attributes:
        on: name of the executor.
        address: of an existing Ray cluster; empty: ``RAY_ADDRESS``, else a Ray of this machine for this run alone.
    """

    on: str = "inline"
    address: str = ""
    #: For a cluster's queue: the site preset and changes of it; whether to wait; one allocation that boots Ray, of so many nodes.
    site: str = "generic"
    site_sets: tuple[str, ...] = ()
    wait: bool = True
    with_ray: bool = False
    nodes: int = 1
    #: For a Ray of this machine: whether it has a dashboard.
    dashboard: bool = False


#: A context, because some executors start something that has to end with the run.
Open = Callable[[Session, "Display", Where], AbstractContextManager["Executor"]]


@contextmanager
def _inline(state: Session, display: Display, where: Where) -> Iterator[Executor]:
    from candor.executors.inline import InlineExecutor
    from candor.tracking.device import DeviceRecorder

    yield InlineExecutor(state.store, state.workload.stages, DeviceRecorder, display)


def _queue(state: Session, display: Display, where: Where) -> AbstractContextManager[Executor]:
    from candor.cli import queue

    return queue.opened(state, display, where)


@contextmanager
def _ray(state: Session, display: Display, where: Where) -> Iterator[Executor]:
    from candor.executors.ray_cluster import connected

    # Ray prints what goes wrong with a node to stdout, where a result, maybe JSON, is going to be.
    ray = connected(where.address, dashboard=where.dashboard)
    with redirect_stdout(sys.stderr), ray as url:
        if url:
            output.note(f"Ray's dashboard: {url}, with the token in {os.environ['RAY_AUTH_TOKEN_PATH']}")
        from candor.executors.ray import RayExecutor
        from candor.tracking.device import DeviceRecorder

        yield RayExecutor(state.store, state.workload.stages, DeviceRecorder, display)


EXECUTORS: dict[str, Open] = {"inline": _inline, "ray": _ray, "slurm": _queue, "pbs": _queue}
#: Those that hand tasks to the queue of a cluster.
QUEUES = ("slurm", "pbs")
_QUEUES = " or ".join(f"--on {name}" for name in QUEUES)


def checked(where: Where) -> Where:
    """``where``, if its executor exists and takes what it says.

    Raises ConfigError with the nearest name; for words that only another executor takes: who forgets ``--on slurm`` beside
    ``--site`` would else train on the login node.
    """
    if where.on not in EXECUTORS:
        near = nearest(where.on, EXECUTORS)
        hint = f"Did you mean '{near}'?" if near else f"Available: {', '.join(EXECUTORS)}."
        raise ConfigError(f"there is no executor '{where.on}'", place="--on", hint=hint)
    queued, ray = where.on in QUEUES, where.on == "ray"
    words = (
        ("--site", where.site != "generic", queued, _QUEUES),
        ("--site-set", bool(where.site_sets), queued, _QUEUES),
        ("--no-wait", not where.wait, queued, _QUEUES),
        ("--with-ray", where.with_ray, queued, _QUEUES),
        ("--nodes", where.nodes > 1, where.with_ray, "--with-ray"),
        ("--address", bool(where.address), ray, "--on ray"),
        ("--dashboard", where.dashboard, ray, "--on ray"),
    )
    for word, said, taken, by in words:
        if said and not taken:
            raise ConfigError(
                f"{word} says nothing to --on {where.on}", place=word, hint=f"It goes with {by}."
            )
    return where


def opened(state: Session, display: Display, where: Where) -> AbstractContextManager[Executor]:
    """The executor that ``where`` names, up and ready while inside."""
    return EXECUTORS[checked(where).on](state, display, where)
