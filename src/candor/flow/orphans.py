"""What runs left behind that nobody works on any more. Published artifacts are never among it."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from candor.errors import CandorError
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import METRICS, RECORD, Attempt, AttemptRecord, read_attempts
from candor.flow.locks import held_if_free, is_free, remove_lock
from candor.flow.run import Run, list_runs

Kind = Literal["attempt", "staging", "scratch", "lock", "ray"]

_REASON = "found dead by `candor clean --orphans`: "


@dataclass(frozen=True)
class Orphan:
    """Something left behind, and why it counts as such. An ``attempt`` gets its final record; the others are removed."""

    kind: Kind
    path: Path
    why: str


@dataclass(frozen=True)
class Clinic:
    """Looks for what was left behind below one cache root and one run root.

    Attributes:
        job_ended: tells whether the job of an attempt on another machine is over, as a scheduler may know; only True
            counts. Without it, processes of other machines count as alive.
        older_than_s: scratch and locks that were touched since then stay, whoever they belong to.
    """

    store: ArtifactStore
    run_root: Path
    job_ended: Callable[[AttemptRecord], bool] = lambda record: False
    older_than_s: float = 24 * 3600.0

    def find(self) -> Iterator[Orphan]:
        """Everything left behind, changing nothing."""
        yield from (orphan for orphan, _ in self._attempts())
        yield from self._staging()
        yield from self._scratch()
        yield from self._locks()

    def clean(self) -> Iterator[Orphan]:
        """Give dead attempts their final record, remove the rest; what was done, as it is done."""
        for orphan, attempt in list(self._attempts()):
            if self._bury(attempt, orphan.why):
                yield orphan
        for orphan in [*self._staging(), *self._scratch()]:
            with held_if_free(self._lock(orphan.path.name)) as free:
                if free:
                    shutil.rmtree(orphan.path, ignore_errors=True)
                    yield orphan
        for orphan in list(self._locks()):
            if remove_lock(orphan.path):
                yield orphan

    def _lock(self, key: str) -> Path:
        return self.store.cache_root / "locks" / f"{key}.lock"

    def _attempts(self) -> Iterator[tuple[Orphan, Attempt]]:
        for run, _ in list_runs(self.run_root):
            tasks = run.path / "tasks"
            for folder in sorted(tasks.iterdir()) if tasks.is_dir() else []:
                for attempt in read_attempts(folder):
                    why = self._why_dead(attempt)
                    if why:
                        yield Orphan("attempt", attempt.path, why), attempt

    def _why_dead(self, attempt: Attempt) -> str:
        """Empty if the attempt has ended properly, or may still be alive."""
        try:
            record = AttemptRecord.model_validate_json((attempt.path / RECORD).read_bytes())
        except (OSError, ValidationError):
            return ""
        if record.outcome != "running":
            return ""
        process = record.process
        if not process.is_alive():
            return f"process {process.pid} on {process.host} ended without a word"
        # A kernel drops the lock of a dead process, and a live attempt holds its key's one from before its record on.
        if process.host == socket.gethostname() and is_free(self._lock(record.key)):
            return f"process {process.pid} lives, and works on something else"
        if self.job_ended(record):
            return f"its job on {process.host} is over"
        return ""

    def _bury(self, attempt: Attempt, why: str) -> bool:
        """Write the final record, with the metrics logged so far; False if the attempt is being worked on after all."""
        with held_if_free(self._lock(attempt.record.key)) as free:
            if not free:
                return False
            try:  # It may have ended properly since it was looked at.
                record = AttemptRecord.model_validate_json((attempt.path / RECORD).read_bytes())
            except (OSError, ValidationError):
                return False
            if record.outcome != "running":
                return False
            rows = self.store.scratch_path(attempt.record.stage, attempt.record.key) / METRICS
            if rows.is_file():
                shutil.copyfile(rows, attempt.path / METRICS)
            kept = METRICS if rows.is_file() else attempt.record.metrics
            attempt.updated({"outcome": "killed", "reason": _REASON + why, "metrics": kept})
        Run(attempt.path.parents[2]).journal.append(
            "task_finished", task=attempt.record.task, attempt=attempt.record.attempt, outcome="killed"
        )
        return True

    def _staging(self) -> Iterator[Orphan]:
        for path in _folders(self.store.cache_root / "staging"):
            if _ours(path) and is_free(self._lock(path.name)):
                yield Orphan("staging", path, "nobody builds it")

    def _scratch(self) -> Iterator[Orphan]:
        planned = self._planned_keys()
        for stage in _folders(self.store.cache_root / "scratch"):
            for path in _folders(stage):
                if not _ours(path) or not is_free(self._lock(path.name)):
                    continue
                if self.store.find(stage.name, path.name) is not None:
                    yield Orphan("scratch", path, "its artifact is published")
                elif path.name not in planned and self._is_old(path):
                    yield Orphan("scratch", path, "no run knows its key")

    def _planned_keys(self) -> set[str]:
        """Keys of all readable plans, and of the attempts of runs whose plan is not."""
        keys: set[str] = set()
        for run, _ in list_runs(self.run_root):
            try:
                keys |= {task.key for task in run.plan().tasks}
            except CandorError:
                tasks = (run.path / "tasks").glob("*")
                keys |= {a.record.key for folder in tasks for a in read_attempts(folder)}
        return keys

    def _locks(self) -> Iterator[Orphan]:
        locks = self.store.cache_root / "locks"
        for path in sorted(locks.glob("*.lock")) if locks.is_dir() else []:
            if _ours(path) and self._is_old(path) and is_free(path):
                yield Orphan("lock", path, "nobody holds it")

    def _is_old(self, path: Path) -> bool:
        """Nothing in it was touched for long. Another machine's clock may be off by less than that."""
        newest = path.stat().st_mtime
        if path.is_dir():
            newest = max([newest, *(p.stat().st_mtime for p in path.rglob("*") if p.exists())])
        return time.time() - newest > self.older_than_s


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []


def _ours(path: Path) -> bool:
    """Several people may share a cache; each cleans up after themselves."""
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # Gone meanwhile.
        return False
