"""Shorthands of the flow tests: a store, a run and a one-line way to run tasks of the toy pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy_pipeline import STAGES, NumberConfig, ToyConfig, toy_tasks

from candor.executors.base import RunReport, execute
from candor.executors.inline import InlineExecutor
from candor.flow.artifact import Artifact, ArtifactStore
from candor.flow.attempt import Attempt
from candor.flow.plan import Plan, TaskSpec, render
from candor.flow.run import Run, open_run
from candor.flow.stage import Inputs, Output, Result, Stage
from candor.flow.survey import survey
from candor.flow.task import run_task
from candor.tracking.recorder import JsonlRecorder

StageBody = Callable[[Inputs, Output], Any]


def toy_plan(**changes: Any) -> Plan:
    """The toy pipeline; ``left__steps=5`` changes one field of one task."""
    values: dict[str, Any] = {"dataset": "small"}
    for key, value in changes.items():
        task, _, name = key.partition("__")
        values.setdefault(task, {})[name] = value
    return render("toy", toy_tasks(ToyConfig.model_validate(values)))


def one_task(config: NumberConfig | None = None, task_id: str = "only") -> Plan:
    """A plan of a single task whose stage is called ``stage``."""
    return render("single", [TaskSpec(task_id, "stage", 1, config or NumberConfig())])


def stage_of(body: StageBody) -> Stage:
    """A stage that ignores its config."""

    def stage(config: NumberConfig, inputs: Inputs, out: Output) -> Result:
        del config
        result = body(inputs, out)
        return result if isinstance(result, Result) else Result()

    return stage


@dataclass
class Kit:
    """Roots below one folder."""

    root: Path

    def __post_init__(self) -> None:
        self.store = ArtifactStore(self.root / "cache")

    def fresh_store(self) -> ArtifactStore:
        """As a new process would see it: nothing verified yet."""
        self.store = ArtifactStore(self.root / "cache")
        return self.store

    def open(self, plan: Plan) -> Run:
        return open_run(self.root, plan, config={}, origins={}, command="test")

    def run_task(self, plan: Plan, task_id: str, stages: Mapping[str, Stage] = STAGES) -> Attempt:
        run = self.open(plan)
        return run_task(
            plan, task_id, stages=stages, store=self.store, run=run, recorder_factory=JsonlRecorder
        )

    def run_one(self, body: StageBody) -> Attempt:
        """One attempt at a single task with this body."""
        return self.run_task(one_task(), "only", {"stage": stage_of(body)})

    def run_all(self, plan: Plan, stages: Mapping[str, Stage] = STAGES) -> RunReport:
        todo = [s.task.id for s in survey(plan, self.store) if s.state != "cached"]
        executor = InlineExecutor(self.store, lambda: stages, JsonlRecorder)
        return execute(executor, plan, self.open(plan), todo)

    def states(self, plan: Plan) -> dict[str, str]:
        return {s.task.id: s.state for s in survey(plan, self.fresh_store())}

    def artifact(self, plan: Plan, task_id: str) -> Artifact:
        task = plan.task(task_id)
        return self.store.open(task.stage, task.key)
