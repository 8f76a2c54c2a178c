"""Running a pipeline up to one stage and reading what that stage left: what ``audit`` and ``profile`` share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candor.cli import output, run
from candor.cli.session import Session
from candor.cli.workload import Request

if TYPE_CHECKING:
    from candor.executors.base import RunReport
    from candor.flow.artifact import ArtifactStore
    from candor.flow.plan import PlannedTask
    from candor.flow.run import Run


@dataclass(frozen=True)
class Done:
    """A pipeline that was run up to one task.

    Attributes:
        folder: what the task published, or the scratch folder that a failed one left.
        report: of this run; None where everything was published before.
    """

    task: PlannedTask
    folder: Path
    run: Run
    report: RunReport | None
    store: ArtifactStore

    def input(self, name: str) -> Path:
        """Folder of an artifact that the task reads."""
        producer = next(t for t in self.run.plan().tasks if t.id == self.task.inputs[name])
        return self.store.path(producer.stage, producer.key)

    @property
    def published(self) -> bool:
        return self.report is None or self.report.ok

    def read(self, name: str) -> Any:
        """A JSON file of the folder; None where the task did not come so far."""
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def up_to(state: Session, request: Request, task_id: str) -> Done:
    """Run what is not published yet of everything that ``task_id`` needs, and the task."""
    from candor.flow.survey import survey

    planned = state.planned(request, task_id)
    task = planned.plan.task(task_id)
    states = survey(planned.plan, state.store)
    opened = run.open_planned(state, planned)
    todo = [s.task.id for s in states if s.state != "cached"]
    if not todo:
        return Done(task, state.store.path(task.stage, task.key), opened, None, state.store)
    report = run.execute_planned(state, planned, opened, todo)
    folder = (
        state.store.path(task.stage, task.key)
        if report.ok
        else state.store.scratch_path(task.stage, task.key)
    )
    return Done(task, folder, opened, report, state.store)


def leave(done: Done) -> None:
    """Print the errors of a failed run and end with their code."""
    if done.report is not None:
        run.exit_if_failed(done.run, done.report)


def say_page(done: Done) -> None:
    """Name the page, if there is one."""
    if (done.folder / "index.html").is_file():
        output.say(f"Page: {done.folder / 'index.html'}")
