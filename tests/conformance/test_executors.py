"""What every executor must do alike. A new executor joins by an entry in ``support/platforms.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan
from platforms import PLATFORMS, Platform, parameters
from toy_pipeline import SCRIPT
from waiting import LIMIT_S, wait_while

from candor.executors.base import RunReport, Skipped, execute
from candor.flow.artifact import ArtifactStore
from candor.flow.plan import Plan
from candor.flow.survey import survey


@pytest.fixture(scope="module", params=parameters())
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    with PLATFORMS[request.param]() as opened:
        yield opened


#: A folder whose name a shell would take apart.
ODD = "röots of 'tests' $HOME & \"more\""


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / ODD)


@dataclass(frozen=True)
class Ended:
    """A run that several tests look at."""

    kit: Kit
    plan: Plan
    report: RunReport


@pytest.fixture(scope="module")
def calm(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Nothing goes wrong."""
    kit, plan = Kit(tmp_path_factory.mktemp("calm") / ODD), toy_plan(left__value=5)
    return Ended(kit, plan, run(kit, platform, plan))


@pytest.fixture(scope="module")
def failed(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The third of four tasks fails."""
    kit, plan = Kit(tmp_path_factory.mktemp("failed") / ODD), toy_plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_FAIL", "total")
        return Ended(kit, plan, run(kit, platform, plan))


def run(kit: Kit, platform: Platform, plan: Plan) -> RunReport:
    todo = [s.task.id for s in survey(plan, kit.store) if s.state != "cached"]
    return execute(platform.make(kit.store), plan, kit.open(plan), todo)


def events(kit: Kit, plan: Plan) -> list[tuple[str, str | None, str | None]]:
    return [(e["event"], e.get("task"), e.get("outcome")) for e in kit.open(plan).journal.read()]


def outcomes(kit: Kit, plan: Plan, task_id: str) -> list[str]:
    return [a.record.outcome for a in kit.open(plan).attempts(task_id)]


def test_a_plan_runs_to_its_end(calm: Ended) -> None:
    assert calm.report.ok
    assert list(calm.report.results) == ["left", "right", "total", "report"]
    assert json.loads((calm.kit.artifact(calm.plan, "total").path / "value.json").read_text()) == 7


def test_no_task_begins_before_those_it_needs_have_ended(calm: Ended) -> None:
    told = events(calm.kit, calm.plan)
    for task in calm.plan.tasks:
        for source in task.inputs.values():
            begun = told.index(("task_started", task.id, None))
            assert told.index(("task_finished", source, "succeeded")) < begun


def test_every_task_leaves_one_record_of_its_success(calm: Ended) -> None:
    for task in calm.plan.tasks:
        records = [a.record for a in calm.kit.open(calm.plan).attempts(task.id)]
        assert [(r.outcome, r.key, r.config) for r in records] == [("succeeded", task.key, task.config)]


def test_what_is_published_is_not_run_again(kit: Kit, platform: Platform) -> None:
    run(kit, platform, toy_plan())
    report = run(kit, platform, toy_plan(total__scale=2.0))
    assert list(report.results) == ["total", "report"]
    assert run(kit, platform, toy_plan()).results == {}


def test_what_another_process_published_meanwhile_is_used(kit: Kit, platform: Platform) -> None:
    plan = toy_plan()
    run(kit, platform, plan)
    report = execute(platform.make(kit.store), plan, kit.open(plan), [t.id for t in plan.tasks])
    assert report.ok
    assert outcomes(kit, plan, "total") == ["succeeded"]


def test_a_failure_stops_only_what_depends_on_it(failed: Ended) -> None:
    assert [a.record.task for a in failed.report.failed] == ["total"]
    assert "told to fail" in (failed.report.failed[0].record.reason or "")
    assert failed.report.skipped == [Skipped("report", "total")]
    assert failed.kit.states(failed.plan) == {
        "left": "cached",
        "right": "cached",
        "total": "to run",
        "report": "to run",
    }


def test_a_stage_that_raises_is_not_tried_again(failed: Ended) -> None:
    assert outcomes(failed.kit, failed.plan, "total") == ["failed"]


def test_a_skipped_task_names_the_failure_at_the_root(
    kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    report = run(kit, platform, toy_plan())
    assert [a.record.task for a in report.failed] == ["left", "right"]
    assert {s.task_id: s.cause for s in report.skipped} == {"total": "left", "report": "left"}


def test_after_a_failure_the_next_run_resumes_from_there(
    kit: Kit, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    run(kit, platform, toy_plan())
    monkeypatch.delenv("TOY_FAIL")
    report = run(kit, platform, toy_plan())
    assert report.ok
    assert outcomes(kit, toy_plan(), "left") == ["failed", "succeeded"]
    assert kit.artifact(toy_plan(), "left").record.summary["resumed_from"] == 2


def test_the_journal_tells_the_story(failed: Ended) -> None:
    told = events(failed.kit, failed.plan)
    assert told[0] == ("run_started", None, None)
    assert ("task_finished", "left", "succeeded") in told
    assert ("task_finished", "total", "failed") in told
    assert ("task_skipped", "report", None) in told
    assert told[-1] == ("run_finished", None, "failed")


def start(kit: Kit, platform: Platform, *args: str, **more: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    given = platform.environment | more
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "run", "toy", "--dataset", "small", *platform.args, *args],
        env={**os.environ, "CANDOR_ROOT": str(kit.root), **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(kit: Kit, task_id: str = "*") -> list[str]:
    found = sorted(kit.root.glob(f"runs/*/tasks/{task_id}/attempt-*/record.json"))
    return [json.loads(p.read_text())["outcome"] for p in found]


def test_a_task_whose_process_was_killed_is_done_again_from_its_checkpoint(
    kit: Kit, platform: Platform
) -> None:
    codes = []
    while 0 not in codes and len(codes) < 3:
        with start(kit, platform, TOY_DIE="number") as process:
            process.communicate(timeout=LIMIT_S)
        codes.append(process.returncode)
    assert tuple(codes) == platform.after_kill
    for name in ("left", "right"):
        assert records(kit, name) == ["killed", "succeeded"]
    for record in kit.root.glob("cache/artifacts/number/*/record.json"):
        assert json.loads(record.read_text())["summary"]["resumed_from"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_so_in_its_records_and_resumes(
    kit: Kit, platform: Platform, number: signal.Signals
) -> None:
    with start(kit, platform, TOY_HOLD="1") as process:
        left = kit.store.scratch_path("number", toy_plan().task("left").key) / "step"
        wait_while(process, left.exists, "the first step")
        process.send_signal(number)
        _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, told
    assert "Run the same command to resume." in told
    assert "interrupted" in records(kit)
    assert set(records(kit)) == {"interrupted"}
    with start(kit, platform, "--json") as process:
        out, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, told
    assert json.loads(out)["tasks"]["left"]["summary"]["resumed_from"] == 1
    assert "interrupted" in records(kit, "left")
    assert records(kit, "total") == ["succeeded"]


def test_two_plans_at_once_share_what_they_have_in_common(kit: Kit, platform: Platform) -> None:
    plans = [start(kit, platform, "--set", f"total.scale={scale}", TOY_WAIT_S="0.1") for scale in (1, 2)]
    for process in plans:
        _, told = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, told
    # Two numbers together, and a total and a report each.
    assert records(kit).count("succeeded") == 6
    assert set(records(kit)) <= {"succeeded", "cached"}
    store = ArtifactStore(kit.root / "cache")
    folders = list((kit.root / "cache/artifacts").glob("*/*"))
    assert len(folders) == 6
    for folder in folders:
        assert store.inspect(folder.parent.name, folder.name, verify=True) == ("published", "")
