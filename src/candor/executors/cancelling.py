"""Taking the jobs of a run off the queue."""

from __future__ import annotations

from candor.executors import ledger
from candor.executors.scheduler import Queued, Scheduler
from candor.flow.run import Run


def live_of(run: Run, scheduler: Scheduler) -> dict[str, Queued]:
    """Task ID → its job, for tasks of ``run`` that are in the queue."""
    queue = scheduler.queue()
    ledger.recover(run, queue)
    return ledger.live_jobs(run, queue)


def cancel(run: Run, scheduler: Scheduler) -> dict[str, str]:
    """End every job of a run; task ID → job."""
    live = {task: entry.job for task, entry in live_of(run, scheduler).items()}
    if live:
        scheduler.cancel(list(live.values()))
        run.journal.append(ledger.CANCELLED, jobs=live)
    return live
