from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from cli_kit import Cli
from toy_pipeline import let_go
from waiting import LIMIT_S, wait_while


def test_no_runs_is_no_error(cli: Cli) -> None:
    assert "No runs yet" in cli("status").out
    assert json.loads(cli("status", "--json").out) == []


def test_runs_are_listed_latest_first_with_state_and_reason(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", "toy", "-d", "small")
    monkeypatch.setenv("TOY_FAIL", "total")
    cli("run", "toy", "-d", "other", "--set", "total.scale=3")
    runs = json.loads(cli("status", "--json").out)
    assert [(r["run"][:9], r["state"], r["published"], r["tasks"]) for r in runs] == [
        ("toy-other", "failed", 2, 4),
        ("toy-small", "succeeded", 4, 4),
    ]
    assert runs[0]["reason"] == "total: ValueError: total was told to fail"
    table = cli("status").out.splitlines()
    assert table[0].split() == ["run", "state", "published", "[tasks]", "last", "started", "[UTC]", "reason"]
    assert len({line.index("succeeded" if "succeeded" in line else "failed") for line in table[1:]}) == 1


def test_tasks_of_a_run_show_attempts_duration_memory_and_reason(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    cli("run", "toy", "-d", "small")
    cli("run", "toy", "-d", "small")
    told = json.loads(cli("status", "toy-small", "--json").out)
    left = told["tasks"][0]
    assert (left["task"], left["state"], left["attempts"]) == ("left", "failed", 2)
    assert left["duration_s"] > 0
    assert left["peak_memory_bytes"] > 1e6
    assert left["reason"] == "ValueError: number was told to fail"
    assert told["tasks"][2]["state"] == "to run"
    shown = cli("status", "toy-small").out
    assert "duration [s]" in shown
    assert "peak memory [MB]" in shown


def test_tasks_that_another_run_published_show_as_cached(cli: Cli) -> None:
    cli("run", "toy", "-d", "small")
    cli("run", "toy", "-d", "other", "--until", "left")
    told = json.loads(cli("status", "toy-other", "--json").out)
    assert told["tasks"][0]["state"] == "cached"


def test_an_artifact_that_was_purged_shows_as_such(cli: Cli, tmp_path: Path) -> None:
    page = Path(json.loads(cli("run", "toy", "-d", "small", "--json").out)["page"])
    (page.parent / "record.json").unlink()
    assert json.loads(cli("status", "toy-small", "--json").out)["tasks"][3]["state"] == "purged"
    assert json.loads(cli("status", "--json").out)[0]["state"] == "incomplete"


def test_an_unreadable_plan_does_not_hide_the_other_runs(cli: Cli, tmp_path: Path) -> None:
    cli("run", "toy", "-d", "small")
    cli("run", "toy", "-d", "other")
    next(tmp_path.rglob("runs/toy-other*/plan.json")).write_text("{")
    assert {r["state"] for r in json.loads(cli("status", "--json").out)} == {"unreadable", "succeeded"}


def test_logs_show_the_last_attempt_of_the_latest_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    cli("run", "toy", "-d", "small")
    monkeypatch.delenv("TOY_FAIL")
    cli("run", "toy", "-d", "small")
    last = cli("logs", "left")
    assert "starting at step 2" in last.out
    assert "a warning of the toy" in last.out
    assert last.err.strip().endswith("succeeded")
    first = cli("logs", "left", "--attempt", "1")
    assert "Traceback" in first.out
    assert "failed: ValueError: number was told to fail" in first.err


def test_logs_of_a_cached_task_are_those_of_the_run_that_made_it(cli: Cli) -> None:
    cli("run", "toy", "-d", "small")
    cli("run", "toy", "-d", "other", "--set", "total.scale=2")
    shown = cli("logs", "left")
    assert "toy-small" in shown.err
    assert "starting at step 0" in shown.out


def test_logs_of_what_is_not_there_say_so(cli: Cli) -> None:
    assert cli("logs", "left").code == 9
    cli("run", "toy", "-d", "small")
    assert "Did you mean 'left'?" in cli("logs", "lefft").err
    assert "Attempts: 1." in cli("logs", "left", "--attempt", "7").err
    assert cli("logs", "left", "--run", "nope").code == 9


def test_following_prints_until_the_attempt_ends(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOY_HOLD", "1")
    process = cli.start("run", "toy", "-d", "small", "--until", "left")
    wait_while(process, lambda: list(tmp_path.rglob("number/*/step")), "the first step")
    threading.Timer(0.5, let_go, [Path(os.environ["CANDOR_ROOT"])]).start()
    shown = cli("logs", "left", "-f")
    assert "starting at step 0" in shown.out
    assert shown.err.strip().endswith("succeeded")
    assert process.wait(LIMIT_S) == 0
