"""Attempts as their records tell of them: begun, found published, never tried, interrupted, killed, lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from candor.errors import StageFailed
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import (
    JOB_VARIABLE,
    METRICS,
    RECORD,
    Attempt,
    AttemptRecord,
    Outcome,
    killed_reason,
    next_folder,
)
from candor.flow.plan import PlannedTask
from candor.flow.process import ProcessId, code_version
from candor.flow.run import Run
from candor.flow.storage import write_atomic


@dataclass(frozen=True)
class Told:
    """An error in the words of an attempt record."""

    error: str
    exit_code: int
    reason: str


INTERRUPTED = Told("KeyboardInterrupt", 130, "stopped by hand or by SIGTERM; the same command resumes it")


def begin(run: Run, task: PlannedTask) -> Attempt:
    """A new attempt of this process, which says that it runs."""
    number, path = next_folder(run.task_dir(task.id))
    record = AttemptRecord(
        run=run.id,
        task=task.id,
        stage=task.stage,
        version=task.version,
        key=task.key,
        attempt=number,
        config=task.config,
        inputs=task.input_keys,
        code_version=code_version(),
        process=ProcessId.current(),
        job=os.environ.get(JOB_VARIABLE),
        started=datetime.now(UTC).isoformat(),
    )
    # Not forced to the disk: after a power cut, an attempt that had just begun has nothing to tell.
    write_atomic(path / RECORD, record.model_dump_json(indent=2), durable=False)
    run.journal.append("task_started", task=task.id, attempt=number, key=task.key)
    return Attempt(path, record)


def record_cached(run: Run, task: PlannedTask) -> Attempt:
    """Record that someone else published the artifact; an attempt of this run that says it is there is enough."""
    known = [a for a in run.attempts(task.id) if a.ok and a.record.key == task.key]
    if known:
        return known[-1]
    return begin(run, task).updated({"outcome": "cached", "duration_s": 0.0})


def record_untried(
    run: Run, task: PlannedTask, *, outcome: Outcome, error: str, reason: str, job: str | None
) -> Attempt:
    """Record an attempt that ended before its process began: cancelled in the queue, or lost with its machine."""
    told = {"outcome": outcome, "error": error, "reason": reason, "job": job, "duration_s": 0.0}
    attempt = begin(run, task).updated(told)
    run.journal.append(
        "task_finished", task=task.id, attempt=attempt.record.attempt, outcome=outcome, reason=reason
    )
    return attempt


def note_interruption(run: Run, task: PlannedTask) -> None:
    """The attempt of this process says that it was interrupted, also where that came while it began or after it had published."""
    for attempt in run.attempts(task.id)[-1:]:
        record = attempt.record
        if record.outcome == "running" and record.process == ProcessId.current():
            attempt.updated({"outcome": "interrupted", **INTERRUPTED.__dict__})
            run.journal.append(
                "task_finished",
                task=task.id,
                attempt=record.attempt,
                outcome="interrupted",
                reason=INTERRUPTED.reason,
            )


def bury(run: Run, task: PlannedTask, store: ArtifactStore) -> None:
    """Give attempts that were killed their final record, with the metrics they had logged.

    Whoever holds the key's lock is its only builder: an attempt that says running is dead, on whatever machine.
    """
    rows = store.scratch_path(task.stage, task.key) / METRICS
    for attempt in run.attempts(task.id):
        final = attempt.path / RECORD
        lost = attempt.record.outcome == "running" and attempt.record.key == task.key
        if lost or (attempt.record.outcome == "killed" and '"running"' in final.read_text(encoding="utf-8")):
            kept = rows.is_file() and attempt.record.key == task.key
            if kept:
                shutil.copyfile(rows, attempt.path / METRICS)
            told = {"outcome": "killed", "reason": killed_reason(attempt.record)} if lost else {}
            attempt.updated({**told, "metrics": METRICS if kept else None})
            run.journal.append(
                "task_finished", task=task.id, attempt=attempt.record.attempt, outcome="killed"
            )


def declare_lost(
    run: Run, task: PlannedTask, store: ArtifactStore, reason: str, *, error: str = "WorkerLost"
) -> Attempt:
    """Record that the process of a task is gone for good, as only an executor can know of another machine.

    Only when nothing builds the task any more, as far as anybody can see: its executor has given it up.
    """
    known = [a for a in run.attempts(task.id) if a.record.key == task.key]
    last = known[-1] if known and not known[-1].ok else begin(run, task)
    rows = store.scratch_path(task.stage, task.key) / METRICS
    changes: dict[str, Any] = {
        "outcome": "killed",
        "error": error,
        "exit_code": StageFailed.exit_code,
        "reason": reason,
    }
    if rows.is_file():
        shutil.copyfile(rows, last.path / METRICS)
        changes["metrics"] = METRICS
    run.journal.append(
        "task_finished", task=task.id, attempt=last.record.attempt, outcome="killed", reason=reason
    )
    return last.updated(changes)
