"""What every executor does: take tasks of a plan in order, give back a job for each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from candor.executors.signals import stop_on_sigterm
from candor.flow.attempt import Attempt
from candor.flow.plan import Plan
from candor.flow.run import Run


@dataclass(frozen=True)
class Skipped:
    """A task that did not run, because ``cause``, a task it needs, failed."""

    task_id: str
    cause: str


JobResult = Attempt | Skipped


class Job(Protocol):
    """A task that was handed to an executor."""

    @property
    def task_id(self) -> str:
        """ID of the task."""

    def result(self) -> JobResult:
        """Wait until the task ended. A failure is a result, not an exception."""


class Executor(Protocol):
    """Runs tasks. Every implementation passes ``tests/conformance``."""

    @property
    def name(self) -> str:
        """How the command line calls it."""

    def submit(self, plan: Plan, run: Run, task_id: str, after: Sequence[Job]) -> Job:
        """Run a task once the jobs ``after`` succeeded; skip it if one of them did not."""

    def stop(self) -> None:
        """The run was stopped, by a person or an error: interrupt what runs, so that its attempt says so, drop what waits."""


@dataclass(frozen=True)
class RunReport:
    """How the tasks of one run ended."""

    results: dict[str, JobResult]

    @property
    def failed(self) -> list[Attempt]:
        """Attempts that did not publish, in plan order."""
        return [r for r in self.results.values() if isinstance(r, Attempt) and not r.ok]

    @property
    def skipped(self) -> list[Skipped]:
        """Tasks that were not tried, in plan order."""
        return [r for r in self.results.values() if isinstance(r, Skipped)]

    @property
    def ok(self) -> bool:
        """True if every task is published."""
        return not self.failed and not self.skipped


def execute(executor: Executor, plan: Plan, run: Run, todo: Collection[str]) -> RunReport:
    """Submit the tasks ``todo`` in plan order and wait for all of them.

    Tasks that are not in ``todo`` count as published. A failure stops only what depends on it.

    Raises KeyboardInterrupt if stopped (Ctrl-C, SIGTERM); the state on disk is resumable.
    """
    run.journal.append("run_started", executor=executor.name, todo=len(todo), tasks=len(plan.tasks))
    outcome = "interrupted"
    try:
        with stop_on_sigterm():  # Also while it stops, which a second SIGTERM would end halfway.
            report = _results(executor, plan, run, todo)
        outcome = "succeeded" if report.ok else "failed"
    finally:
        run.journal.append("run_finished", outcome=outcome)
    return report


def _results(executor: Executor, plan: Plan, run: Run, todo: Collection[str]) -> RunReport:
    jobs: dict[str, Job] = {}
    try:
        for task in plan.tasks:
            if task.id in todo:
                after = [jobs[source] for source in dict.fromkeys(task.inputs.values()) if source in jobs]
                jobs[task.id] = executor.submit(plan, run, task.id, after)
        return RunReport({task_id: job.result() for task_id, job in jobs.items()})
    except BaseException:
        executor.stop()
        raise
