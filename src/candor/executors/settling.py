"""Give attempts that could not write their own end the scheduler's account of it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from candor.executors import ledger
from candor.executors.endings import ENDED, ending
from candor.executors.job_output import end_of
from candor.executors.scheduler import Accounted, Scheduler
from candor.flow.attempt import Attempt, AttemptRecord, iso_seconds
from candor.flow.plan import PlannedTask
from candor.flow.recording import record_untried
from candor.flow.run import Run

#: SLURM sends its database what happens at once, and a busy one takes it late. As long as a record may take to be seen.
_ACCOUNTS_DELAY_S = 60.0
_STEPS_DELAY_S = 15.0
#: What SLURM's step daemon writes into the output of a job that it ends for its memory.
_MEMORY = re.compile(r"slurmstepd\S*: error: .*(exceeded memory limit|oom[-_]kill)", re.IGNORECASE)


def settle(run: Run, task: PlannedTask, job: str, scheduler: Scheduler) -> Attempt | None:
    """Write the end of every attempt at ``task`` that does not know it, and return the last one by ``job``.

    Where the job ended before it began an attempt, one is recorded for it. None if the scheduler cannot say yet how it ended,
    or says that it went well and the record is only not visible yet.
    """
    rows = _accounts(scheduler, job)
    attempts = [explain(run, a, task, rows) for a in run.attempts(task.id) if a.record.key == task.key]
    mine = [a for a in attempts if a.record.job == job]
    final = rows[-1] if rows else None
    if mine and mine[-1].record.outcome != "running":
        return mine[-1]
    state = final.state if final else scheduler.state(job)
    if not mine and state in ENDED and state != "COMPLETED":
        # Cancelled before it began: nothing was killed.
        told = ending(
            final or _unaccounted(job, state), stage=_asks(run, task, job), resumes=state == "CANCELLED"
        )
        return record_untried(run, task, outcome=told.outcome, error=told.error, reason=told.reason, job=job)
    return None


def lacks_word(record: AttemptRecord) -> bool:
    """Whether the scheduler may know more of its end than the record says."""
    silent = record.outcome == "running" or (record.outcome == "killed" and record.error is None)
    stopped = record.outcome == "interrupted" and record.error == "KeyboardInterrupt"
    return record.job is not None and (silent or stopped)


def explain_all(
    run: Run, task: PlannedTask, attempts: Sequence[Attempt], scheduler: Scheduler
) -> list[Attempt]:
    """``attempts`` at a task whose last job ended, each with the scheduler's word where its own is missing."""
    jobs = {a.record.job for a in attempts if a.record.job and lacks_word(a.record)}
    rows = scheduler.accounting(jobs)
    return [explain(run, a, task, rows) for a in attempts]


def explain(run: Run, attempt: Attempt, task: PlannedTask, rows: Sequence[Accounted]) -> Attempt:
    """The attempt with the scheduler's word on its end, written to its record, if its own does not say."""
    record = attempt.record
    row = incarnation(record, rows)
    if row is None or row.state not in (*ENDED, "REQUEUED") or not lacks_word(record):
        return attempt
    stopped = record.outcome == "interrupted"
    if stopped and row.state in ("COMPLETED", "FAILED"):
        return attempt
    if row.state in ("CANCELLED", "FAILED") and _said_memory(run, row.job):
        row = replace(row, state="OUT_OF_MEMORY")
    told = ending(row, stage=_asks(run, task, row.job), resumes=stopped)
    changes: dict[str, object] = {"outcome": told.outcome, "error": told.error, "reason": told.reason}
    if not stopped and row.end is not None:
        changes["duration_s"] = max(record.duration_s or 0.0, row.end - iso_seconds(record.started))
    if not stopped and row.peak_memory_bytes:
        changes["peak_memory_bytes"] = max(record.peak_memory_bytes or 0, row.peak_memory_bytes)
    after = attempt.updated(changes)
    run.journal.append(
        "attempt_explained", task=task.id, attempt=record.attempt, error=told.error, reason=told.reason
    )
    return after


def _asks(run: Run, task: PlannedTask, job: str) -> str:
    """Whose request in the site's ``stages`` the job's was: of the task's stage, or of the allocation it ran in."""
    return ledger.allocation_of(run, job) or task.stage


def _said_memory(run: Run, job: str) -> bool:
    """Whether the job's output names memory as what ended it: accounts of a short job may lack what it asked for."""
    return any(_MEMORY.search(end_of(path)) for path in run.path.glob(f"*/*-{job}.out"))


def incarnation(record: AttemptRecord, rows: Sequence[Accounted]) -> Accounted | None:
    """The start of the job that the attempt belongs to: a requeued job has several, one after the other."""
    return incarnation_at(record.job, iso_seconds(record.started), rows)


def incarnation_at(job: str | None, began: float, rows: Sequence[Accounted]) -> Accounted | None:
    """The start of ``job`` during which something began, in seconds since 1970."""

    def distance_s(row: Accounted) -> float:
        """0 if it ran when the attempt began; clocks of node and controller may differ by a little."""
        assert row.start is not None
        end = row.end if row.end is not None else float("inf")
        return max(row.start - began, began - end, 0.0)

    candidates = [r for r in rows if r.job == job and r.start is not None]
    return min(reversed(candidates), key=distance_s, default=None)


def _accounts(scheduler: Scheduler, job: str) -> list[Accounted]:
    """The accounts of a job that left the queue; the database hears of an end some seconds later."""
    began = time.monotonic()
    while True:
        rows = scheduler.accounting([job])
        waited_s = time.monotonic() - began
        if rows and rows[-1].state in ENDED:
            if not still_counted(rows[-1], time.time()):
                return rows
        elif waited_s > _ACCOUNTS_DELAY_S or (not rows and scheduler.state(job) in ENDED):
            return rows
        time.sleep(0.5)


def still_counted(row: Accounted, now: float) -> bool:
    """Whether the job may have ended by memory and its steps, which know how much it took, are not accounted for yet.

    ``now`` in seconds since 1970. SLURM's database hears of the steps after the job; some sites never account for them.
    """
    unknown = row.state in ("CANCELLED", "FAILED") and row.elapsed_s > 0 and row.peak_memory_bytes is None
    return unknown and row.end is not None and now - row.end < _STEPS_DELAY_S


def _unaccounted(job: str, state: str) -> Accounted:
    return Accounted(job, state, 0, None, None, 0.0, None, 0.0, 1, "", None, None)
