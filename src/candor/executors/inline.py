"""Runs a plan in this process, one task after the other, with progress bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from candor.executors.base import Job, JobResult, Skipped
from candor.executors.display import Display, Quiet
from candor.executors.signals import stop_on_sigterm
from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import Attempt
from candor.flow.execution import RecorderFactory
from candor.flow.plan import Plan
from candor.flow.process import give_back_memory
from candor.flow.run import Run
from candor.flow.stage import LazyStages, Stage
from candor.flow.task import run_task


@dataclass(frozen=True)
class DoneJob:
    """A job that ended before ``submit`` returned."""

    task_id: str
    outcome: JobResult

    def result(self) -> JobResult:
        """How it ended."""
        return self.outcome


@dataclass
class InlineExecutor:
    """Runs each task when it is submitted.

    Attributes:
        load_stages: gives the stage functions; called when the first task runs, because it imports what they need.
        display: who is told how far the run is.
    """

    store: ArtifactStore
    load_stages: Callable[[], Mapping[str, Stage]]
    recorder_factory: RecorderFactory
    display: Display = field(default_factory=Quiet)
    name: str = "inline"

    @cached_property
    def _stages(self) -> Mapping[str, Stage]:
        return LazyStages(self.load_stages)

    def submit(self, plan: Plan, run: Run, task_id: str, after: Sequence[Job]) -> DoneJob:
        """Run the task now.

        Raises KeyboardInterrupt on Ctrl-C or SIGTERM, after the attempt was recorded as interrupted.
        """
        cause = _failed_cause(after)
        if cause is not None:
            skipped = Skipped(task_id, cause)
            run.journal.append("task_skipped", task=task_id, cause=cause)
            self.display.finished(skipped)
            return DoneJob(task_id, skipped)
        self.display.started(plan.task(task_id))
        with stop_on_sigterm():
            attempt = run_task(
                plan,
                task_id,
                stages=self._stages,
                store=self.store,
                run=run,
                recorder_factory=self.recorder_factory,
                progress=partial(self.display.progress, task_id),
            )
        self.display.finished(attempt)
        give_back_memory(attempt.record.duration_s)
        return DoneJob(task_id, attempt)

    def stop(self) -> None:
        """Nothing is left to stop: the interrupted task was the only one."""


def _failed_cause(after: Sequence[Job]) -> str | None:
    """The failed task behind the first job that did not succeed; None if all did."""
    for job in after:
        result = job.result()
        if isinstance(result, Skipped):
            return result.cause
        if isinstance(result, Attempt) and not result.ok:
            return job.task_id
    return None
