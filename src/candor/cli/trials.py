"""A trial of a study as an ordinary run: the same plan, cache, records and checkpoints."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from candor.cli.session import Session
from candor.cli.workload import Request, Workload
from candor.errors import CandorError
from candor.flow.workers import Workers
from candor.learn.tuning.search import Outcome, Searcher
from candor.learn.tuning.spaces import Value
from candor.learn.tuning.study import Study, StudyInfo
from candor.tracking.device import DeviceRecorder

if TYPE_CHECKING:
    from candor.executors.base import RunReport
    from candor.flow.plan import Plan
    from candor.flow.run import Run

log = logging.getLogger(__name__)
Report = Callable[[int, float], None]


class TrialRecorder(DeviceRecorder):
    """Tells the search of every epoch's metric; the search may stop the training by raising."""

    def __init__(self, scratch: Path, task: str, metric: str, report: Report) -> None:
        super().__init__(scratch, task)
        self._metric, self._report = metric, report

    def log(self, step: int, metrics: dict[str, float], *, kind: str = "epoch") -> None:  # type: ignore[override]
        """Append one row, and tell."""
        super().log(step, metrics, kind=kind)
        if self._metric in metrics:
            self._report(step, float(metrics[self._metric]))

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        """Forget rows at or after ``step``; what a resumed training has before it is told now."""
        super().rewind(step, kind=kind)
        for row in self.rows():
            if self._metric in row["metrics"]:
                self._report(row["step"], row["metrics"][self._metric])


@dataclass(frozen=True)
class TrialRuns:
    """Runs trials of one study. Plain data, so that it can be sent to a worker."""

    workload: Workload
    info: StudyInfo

    def __call__(self, values: dict[str, Value], report: Report) -> Outcome:
        """Run a trial; how its run ended. Raises KeyboardInterrupt."""
        from candor.cli.run import open_planned
        from candor.flow.survey import survey

        info = self.info
        request = Request(
            info.experiment, info.dataset, info.overrides(values), [info.seed], list(info.allow)
        )
        state = Session(self.workload, ("run", info.experiment, "-d", info.dataset, *_sets(request.sets)))
        try:
            planned = state.planned(request, info.task)
        except CandorError as e:  # Values that the models refuse together.
            return Outcome("", failed=True, reason=str(e))
        run = open_planned(state, planned)
        _track_like(Study(state.settings.run_root / "studies" / info.study), run)
        todo = [s.task.id for s in survey(planned.plan, state.store) if s.state != "cached"]
        outcome = _outcome(run, self._execute(state, planned.plan, run, todo, report))
        if info.task not in todo and not outcome.failed:
            self._tell_of_cached(state, planned.plan, run, report)
        return outcome

    def _execute(self, state: Session, plan: Plan, run: Run, todo: list[str], report: Report) -> RunReport:
        from candor.executors.base import execute
        from candor.executors.inline import InlineExecutor

        def recorder(scratch: Path, task: str) -> DeviceRecorder:
            if task == self.info.task:
                return TrialRecorder(scratch, task, self.info.space.metric, report)
            return DeviceRecorder(scratch, task)

        return execute(InlineExecutor(state.store, self.workload.stages, recorder), plan, run, todo)

    def _tell_of_cached(self, state: Session, plan: Plan, run: Run, report: Report) -> None:
        from candor.learn.tuning.search import TrialStopped
        from candor.tracking.tracked import tracked_tasks

        task = next(t for t in tracked_tasks(run, state.store) if t.name == self.info.task)
        for row in task.rows:
            if self.info.space.metric in row.metrics:
                try:
                    report(row.step, row.metrics[self.info.space.metric])
                except TrialStopped:
                    continue  # It is trained already: nothing is saved by stopping.


def _track_like(study: Study, run: Run) -> None:
    """A trial's run goes to the same place as its study, later, and nowhere if the study is tracked 'off'."""
    from candor.tracking.sync import set_tracking, tracking_of

    if (run.path / "tracking" / "tracking.json").exists():
        return
    told = tracking_of(study.path)
    try:
        # Nobody follows the run itself; `candor track sync` sends its tasks.
        mode = "off" if told.mode == "off" else "offline"
        set_tracking(run.path, told.model_copy(update={"mode": mode}))
    except OSError as e:
        log.warning("run %s is tracked by default: %s", run.id, e)


def _sets(sets: list[str]) -> list[str]:
    return [part for text in sets for part in ("--set", shlex.quote(text))]


def _outcome(run: Run, report: RunReport) -> Outcome:
    if report.ok:
        return Outcome(run.id)
    record = report.failed[0].record if report.failed else None
    if record is None:
        return Outcome(run.id, failed=True, reason="skipped")
    memory = (
        record.error in ("MemoryError", "OutOfMemoryError")
        or "out of memory" in (record.reason or "").lower()
    )
    reason = f"{record.task}: {record.reason}"
    return Outcome(run.id, failed=True, reason=reason, out_of_memory=memory)


@dataclass(frozen=True)
class WorkerJob:
    """One worker of a study; can be sent to another process."""

    workload: Workload
    study: Path
    number: int


def work(job: WorkerJob) -> int:
    """Take trials until the study has enough; the worker's number."""
    from candor.executors.job_ends import JobEnds
    from candor.executors.worker_array import given_up, is_given_up

    study = Study(job.study)
    runs, ends, gone = TrialRuns(job.workload, study.info()), JobEnds(), given_up(job.study)

    def over(name: str, host: str, began_s: float) -> bool:
        return is_given_up(name, gone) or ends.over(name, host, began_s)

    Searcher(study, runs, worker=job.number, job_over=over).run()
    return job.number


def work_in_parallel(jobs: list[WorkerJob], workers: Workers) -> None:
    """Several workers at once."""
    for _ in workers.map(work, jobs, at_most=len(jobs)):
        continue
