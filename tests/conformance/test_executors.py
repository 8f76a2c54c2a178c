"""What every executor must do alike. A new executor joins by an entry in ``EXECUTORS``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan
from toy_pipeline import STAGES

from candor.executors.base import Executor, RunReport, Skipped, execute
from candor.executors.inline import InlineExecutor
from candor.flow.artifact import ArtifactStore
from candor.flow.plan import Plan
from candor.flow.stage import Stage
from candor.flow.survey import survey
from candor.tracking.recorder import JsonlRecorder

Make = Callable[[ArtifactStore, Mapping[str, Stage]], Executor]

EXECUTORS: dict[str, Make] = {
    "inline": lambda store, stages: InlineExecutor(store, lambda: stages, JsonlRecorder),
}


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Make:
    return EXECUTORS[request.param]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / "röots of tests")


def run(kit: Kit, make: Make, plan: Plan) -> RunReport:
    todo = [s.task.id for s in survey(plan, kit.store) if s.state != "cached"]
    return execute(make(kit.store, STAGES), plan, kit.open(plan), todo)


def test_a_plan_runs_to_its_end(kit: Kit, make: Make) -> None:
    plan = toy_plan(left__value=5)
    report = run(kit, make, plan)
    assert report.ok
    assert list(report.results) == ["left", "right", "total", "report"]
    assert json.loads((kit.artifact(plan, "total").path / "value.json").read_text()) == 7


def test_every_task_leaves_one_record_of_its_success(kit: Kit, make: Make) -> None:
    plan = toy_plan()
    run(kit, make, plan)
    for task in plan.tasks:
        records = [a.record for a in kit.open(plan).attempts(task.id)]
        assert [(r.outcome, r.key, r.config) for r in records] == [("succeeded", task.key, task.config)]


def test_what_is_published_is_not_run_again(kit: Kit, make: Make) -> None:
    run(kit, make, toy_plan())
    report = run(kit, make, toy_plan(total__scale=2.0))
    assert list(report.results) == ["total", "report"]
    assert run(kit, make, toy_plan()).results == {}


def test_a_failure_stops_only_what_depends_on_it(
    kit: Kit, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "total")
    report = run(kit, make, toy_plan())
    assert [a.record.task for a in report.failed] == ["total"]
    assert report.skipped == [Skipped("report", "total")]
    assert kit.states(toy_plan()) == {
        "left": "cached",
        "right": "cached",
        "total": "to run",
        "report": "to run",
    }


def test_a_skipped_task_names_the_failure_at_the_root(
    kit: Kit, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    report = run(kit, make, toy_plan())
    assert [a.record.task for a in report.failed] == ["left", "right"]
    assert {s.task_id: s.cause for s in report.skipped} == {"total": "left", "report": "left"}


def test_after_a_failure_the_next_run_starts_from_there(
    kit: Kit, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "total")
    run(kit, make, toy_plan())
    monkeypatch.delenv("TOY_FAIL")
    report = run(kit, make, toy_plan())
    assert report.ok
    assert list(report.results) == ["total", "report"]
    outcomes = [a.record.outcome for a in kit.open(toy_plan()).attempts("total")]
    assert outcomes == ["failed", "succeeded"]


def test_the_journal_tells_the_story(kit: Kit, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_FAIL", "total")
    run(kit, make, toy_plan())
    events = [(e["event"], e.get("task"), e.get("outcome")) for e in kit.open(toy_plan()).journal.read()]
    assert events[0] == ("run_started", None, None)
    assert ("task_finished", "left", "succeeded") in events
    assert ("task_finished", "total", "failed") in events
    assert ("task_skipped", "report", None) in events
    assert events[-1] == ("run_finished", None, "failed")
