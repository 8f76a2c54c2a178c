"""One task of a plan inside a Ray worker: what the executor sends there, and what comes back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from candor.executors.ray_workers import RayWorkers
from candor.executors.signals import stop_on_sigterm
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import Attempt, AttemptRecord
from candor.flow.execution import RecorderFactory
from candor.flow.plan import Plan
from candor.flow.process import give_back_memory
from candor.flow.run import Run
from candor.flow.stage import LazyStages, Stage
from candor.flow.task import run_task

#: A stage may tell its progress for every batch; the person who waits sees it this often.
TELL_EVERY_S = 0.5


@dataclass(frozen=True)
class Call:
    """A task to carry out. Plain data and names of importable things; nothing of it is written to a disk.

    Attributes:
        plan: JSON of a plan that holds the task and those whose artifacts it reads.
        environment: variables to set in the worker; others that begin like one of ``prefixes`` are unset.
        board: actor that the driver reads progress from; None if nobody looks.
    """

    plan: str
    task_id: str
    run: Path
    cache_root: Path
    load_stages: Callable[[], Mapping[str, Stage]]
    recorder_factory: RecorderFactory
    environment: dict[str, str]
    prefixes: tuple[str, ...]
    board: Any = None


@dataclass(frozen=True)
class Ended:
    """How a task ended.

    Attributes:
        cause: the failed task behind it; None if the artifact is published.
        record: JSON of the attempt's record; None if the task was skipped.
    """

    task_id: str
    cause: str | None
    folder: Path | None = None
    record: str | None = None

    def attempt(self) -> Attempt | None:
        """The attempt; None if the task was skipped."""
        if self.folder is None or self.record is None:
            return None
        return Attempt(self.folder, AttemptRecord.model_validate_json(self.record))


def carry_out(call: Call, *before: Ended) -> Ended:
    """Run the task, unless one that it needs did not publish. The body of a Ray task."""
    run = Run(call.run)
    cause = next((b.cause for b in before if b.cause is not None), None)
    if cause is not None:
        run.journal.append("task_skipped", task=call.task_id, cause=cause)
        return Ended(call.task_id, cause)
    _set_environment(call)
    tell = _Teller(call.board, call.task_id)
    tell.started()
    try:
        with stop_on_sigterm():
            attempt = run_task(
                Plan.model_validate_json(call.plan),
                call.task_id,
                stages=LazyStages(call.load_stages),
                store=_store(call.cache_root),
                run=run,
                recorder_factory=call.recorder_factory,
                progress=tell,
                workers=RayWorkers(),
            )
    except KeyboardInterrupt:
        # An exception would look to Ray like a cancelled task, and who ended it (the driver, or a node that goes down)
        # would be lost. The record has been written.
        attempts = run.attempts(call.task_id)
        if not attempts:
            raise
        attempt = attempts[-1]
    give_back_memory(attempt.record.duration_s)  # Ray keeps this process for the next task.
    cause = None if attempt.ok else call.task_id
    return Ended(call.task_id, cause, attempt.path, attempt.record.model_dump_json())


def _set_environment(call: Call) -> None:
    """As the driver has it now: this process may have started with an older one, or serve another driver's task."""
    for name in [n for n in os.environ if n.startswith(call.prefixes)]:
        if name not in call.environment:
            del os.environ[name]
    os.environ.update(call.environment)


@cache
def _store(cache_root: Path) -> ArtifactStore:
    """One per process, so that it verifies an input once."""
    return ArtifactStore(cache_root)


@dataclass
class _Teller:
    """A Progress that tells the board; whether anybody hears it is no concern of the stage."""

    board: Any
    task_id: str
    _last: float = field(default=0.0)

    def started(self) -> None:
        if self.board is not None:
            self.board.tell.remote(self.task_id, None)

    def __call__(self, done: float, total: float, note: str = "") -> None:
        now = time.monotonic()
        if self.board is not None and now - self._last >= TELL_EVERY_S:
            self._last = now
            self.board.tell.remote(self.task_id, (float(done), float(total), note))


class Board:
    """What running tasks told last; an actor. Only the latest word of each task is kept."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[bool, tuple[float, float, str] | None]] = {}

    def tell(self, task_id: str, got: tuple[float, float, str] | None) -> None:
        """A task began (``got`` is None) or got so far."""
        began = got is None or self._news.get(task_id, (False, None))[0]
        self._news[task_id] = (began, got)

    def news(self) -> dict[str, tuple[bool, tuple[float, float, str] | None]]:
        """Since the last question: task → (it began, how far it got)."""
        news, self._news = self._news, {}
        return news
