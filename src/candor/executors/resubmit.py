"""A second job for a task whose first cannot go on: near its time limit where users may not requeue, or silent."""

from __future__ import annotations

from pathlib import Path

from candor.errors import SchedulerError
from candor.executors import ledger
from candor.executors.batches import Batch
from candor.executors.scheduler import Queued, Scheduler
from candor.flow.locks import key_lock
from candor.flow.plan import Plan
from candor.flow.run import Run


def resubmit(
    plan: Plan,
    run: Run,
    task_id: str,
    script: Path,
    scheduler: Scheduler,
    *,
    number: str = "",
    instead_of: str = "",
    at_most: int = 50,
) -> str | None:
    """Submit ``script`` again for one task, and let the jobs that wait for the old job wait for the new one.

    Called before the old job ends: a moment later the scheduler would cancel what waits for it.

    Args:
        number: of the task's element, if the script is that of an array.
        instead_of: the old job; None is returned if the task has another one by now.

    Raises SchedulerError if that was done ``at_most`` times already since a person submitted the task.
    """
    with key_lock(run.path / scheduler.words.scheduler / "submit.lock"):
        if instead_of and ledger.jobs_of(run).get(task_id) != instead_of:
            return None
        if ledger.continuations_of(run, task_id) >= at_most:
            stage = plan.task(task_id).stage
            raise SchedulerError(
                f"{task_id} is not finished after {at_most} continuations (max_requeues)",
                hint=f"Give it more time: --site-set stages.{stage}.time_limit_min=...",
            )
        batch = Batch({int(number or 0): task_id})
        ledger.note_intent(run, batch)
        job = scheduler.submit(script, element=number)
        ledger.note_submitted(run, batch, job, how=ledger.RESUBMITTED)
        live = ledger.live_jobs(run, scheduler.queue())
        for task in plan.tasks:
            if task_id in task.inputs.values() and task.id in live:
                sources = [found for s in task.inputs.values() if (found := _job(s, task_id, job, live))]
                scheduler.wait_for(live[task.id].job, "afterok:" + ":".join(dict.fromkeys(sources)))
    return job


def _job(source: str, task_id: str, job: str, live: dict[str, Queued]) -> str | None:
    """The job that makes ``source``; None if it is done."""
    if source == task_id:
        return job
    return live[source].job if source in live else None
