"""What the queue knows of a run that its records do not say yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from candor.errors import SchedulerError
from candor.executors import ledger
from candor.executors.scheduler import Accounted, Queued, Scheduler, scheduler_here
from candor.executors.settling import explain, incarnation, lacks_word, still_counted
from candor.executors.silence import TOLD_S, Silence, find_silent
from candor.flow.attempt import Attempt
from candor.flow.plan import Plan, PlannedTask
from candor.flow.run import Run

log = logging.getLogger(__name__)

#: What people ask ``candor status`` for while the controller is away is in the records.
_PATIENCE_S = 5.0


@dataclass
class QueueView:
    """One look at the queue, shared by all runs of one listing.

    Attributes:
        trouble: why there is none; empty if all is well.
    """

    scheduler: Scheduler = field(default_factory=lambda: scheduler_here(_PATIENCE_S))
    trouble: str = ""
    _queue: list[Queued] | None = None

    def live(self, run: Run) -> Mapping[str, Queued]:
        """Task ID → its job, for tasks of ``run`` that wait or run; empty for a run that was never submitted."""
        if self.trouble or not ledger.jobs_of(run):
            return {}
        try:
            if self._queue is None:
                self._queue = self.scheduler.queue()
        except SchedulerError as e:
            self.trouble = str(e)
            return {}
        return ledger.live_jobs(run, self._queue)

    def silent(self, run: Run) -> Mapping[str, Silence]:
        """Job → its silence, for running jobs of ``run`` that give no sign of life; empty if SLURM cannot be asked."""
        entries = self.live(run).values()
        try:
            return find_silent(
                entries,
                run.path / self.scheduler.words.scheduler,
                self.scheduler,
                after_s=TOLD_S,
                now=time.time(),
            )
        except SchedulerError as e:
            self.trouble = str(e)
            return {}

    def settle(self, run: Run, task: PlannedTask, attempts: list[Attempt]) -> list[Attempt]:
        """Attempts of jobs that left the queue, with the scheduler's word on how they ended."""
        lost = [a for a in attempts if lacks_word(a.record) and a.record.outcome != "interrupted"]
        if not lost or self.trouble:
            return attempts
        live = {entry.job for entry in self.live(run).values()}
        rows = self.scheduler.accounting([a.record.job for a in lost if a.record.job])
        settled = []
        for attempt in attempts:
            over = attempt in lost and (attempt.record.job not in live or _superseded(attempt, rows))
            row = incarnation(attempt.record, rows) if over else None
            known = row is not None and not still_counted(row, time.time())
            settled.append(explain(run, attempt, task, rows) if known else attempt)
        return settled


def _superseded(attempt: Attempt, rows: list[Accounted]) -> bool:
    """Whether its job was requeued since: it lives, and this start of it does not."""
    mine = [r for r in rows if r.job == attempt.record.job]
    return bool(mine) and incarnation(attempt.record, rows) is not mine[-1]


def shares_its_job(run: Run, entry: Queued) -> bool:
    """Whether the job does other tasks too: that it runs does not say that this task does."""
    return list(ledger.jobs_of(run).values()).count(entry.job) > 1


def queue_word(entry: Queued) -> tuple[str, str]:
    """State of a waiting or running job as ``candor status`` shows it, and why it waits."""
    if entry.state in ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING"):
        return "running", f"job {entry.job}"
    if entry.state == "SUSPENDED":
        return "suspended", f"job {entry.job}"
    return "queued", f"job {entry.job}" + (
        f", waits: {entry.reason}" if entry.reason not in ("", "None") else ""
    )


def silent_word(silence: Silence, run: str) -> tuple[str, str]:
    """State of a job that gives no sign of life as ``candor status`` shows it, and what to do."""
    if silence.word:
        advice = "the same `candor run` does the task elsewhere, from its checkpoint"
    else:
        advice = f"`candor cancel {run}` and the same `candor run` do the task anew, from its checkpoint"
    return "silent", f"{silence.told()}; {advice}"


def skipped_because(plan: Plan, states: Mapping[str, str]) -> dict[str, str]:
    """Task ID → the failed task that keeps it from running, for tasks that neither run nor wait for their turn."""
    causes: dict[str, str] = {}
    for task in plan.tasks:
        if states[task.id] != "to run":
            continue
        for source in task.inputs.values():
            if states[source] in ("failed", "killed", "interrupted"):
                causes.setdefault(task.id, source)
            elif source in causes:
                causes.setdefault(task.id, causes[source])
    return causes
