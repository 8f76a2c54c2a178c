from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Cli


def test_a_run_ends_with_its_table_and_page(cli: Cli) -> None:
    done = cli("run", "toy", "-d", "small")
    assert done.code == 0
    assert "total" in done.out
    assert "value [apples]" in done.out
    assert "21.0" in done.out
    page = Path(done.out.split("Summary page: ")[1].strip())
    assert page.is_file()
    assert page.name == "index.html"


def test_the_second_identical_run_does_nothing_and_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run", "toy", "-d", "small")
    monkeypatch.setattr("toy_pipeline.ToyWorkload.stages", lambda self: pytest.fail("stages were loaded"))
    again = cli("run", "toy", "-d", "small")
    assert again.code == 0
    assert "Nothing to do: all 4 tasks of toy-small-" in again.out
    assert "21.0" in again.out
    assert "Summary page: " in again.out


def test_a_dry_run_shows_states_and_why_and_runs_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run", "toy", "-d", "small")
    monkeypatch.setattr("toy_pipeline.ToyWorkload.stages", lambda self: pytest.fail("stages were loaded"))
    dry = cli("run", "toy", "-d", "small", "--set", "left.steps=5", "--dry-run")
    rows = {line.split()[0]: line for line in dry.out.splitlines()}
    assert "stale" in rows["left"]
    assert "steps: 3 → 5" in rows["left"]
    assert "cached" in rows["right"]
    assert "input number.left changed" in rows["total"]
    assert "4 tasks, 1 cached, 3 to run" in dry.out
    told = json.loads(cli("run", "toy", "-d", "small", "--set", "left.steps=5", "--dry-run", "--json").out)
    assert [t["state"] for t in told["tasks"]] == ["stale", "cached", "stale", "stale"]


@pytest.mark.parametrize(
    ("words", "goes_with"),
    [
        (("--site", "osc_ascend"), "--on slurm"),
        (("--site-set", "defaults.account=PAS1"), "--on slurm"),
        (("--with-ray",), "--on slurm"),
        (("--no-wait",), "--on slurm"),
        (("--nodes", "2"), "--with-ray"),
        (("--on", "slurm", "--nodes", "2"), "--with-ray"),
        (("--address", "127.0.0.1:6379"), "--on ray"),
        (("--dashboard",), "--on ray"),
    ],
)
def test_words_for_another_executor_are_refused_before_anything_runs(
    cli: Cli, words: tuple[str, ...], goes_with: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who forgets ``--on slurm`` must not train on the login node."""
    monkeypatch.setattr("toy_pipeline.ToyWorkload.stages", lambda self: pytest.fail("stages were loaded"))
    done = cli("run", "toy", "-d", "small", *words)
    assert (done.code, goes_with in done.err) == (2, True), done.err


def test_until_stops_early_and_shows_where_the_artifacts_lie(cli: Cli) -> None:
    done = cli("run", "toy", "-d", "small", "--until", "number")
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["left", "right"]
    assert all(Path(line.split(": ")[1]).is_dir() for line in done.out.splitlines())


def test_seeds_reach_the_workload(cli: Cli) -> None:
    shown = json.loads(cli("config", "show", "toy", "-d", "small", "--seed", "3,1,2", "--json").out)
    assert shown["seeds"] == [3, 1, 2]
    assert cli("run", "toy", "-d", "small", "--seed", "one").code == 2
    assert cli("run", "toy", "-d", "small", "--seed", "1,1").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ["--set", "left.stps=3"],
            2,
            "error: unknown config key 'left.stps' (--set left.stps). Did you mean 'left.steps'?",
        ),
        (["--set", "left.steps=many"], 2, "error: 'left.steps': Input should be a valid integer"),
        (["--until", "totl"], 9, "Did you mean 'total'?"),
        (["--on", "inlin"], 2, "error: there is no executor 'inlin' (--on). Did you mean 'inline'?"),
    ],
)
def test_an_error_is_one_line_with_its_own_exit_code(
    cli: Cli, arguments: list[str], code: int, told: str
) -> None:
    done = cli("run", "toy", "-d", "small", *arguments)
    assert done.code == code
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert done.out == ""


def test_a_failed_run_says_what_failed_and_where_to_read_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "total")
    done = cli("run", "toy", "-d", "small")
    assert done.code == 6
    assert (
        "error: total failed: ValueError: total was told to fail. Read `candor logs total --run toy-small-"
        in done.err
    )
    told = json.loads(cli("run", "toy", "-d", "small", "--json").out)
    assert told["outcome"] == "failed"
    assert told["tasks"]["total"]["reason"] == "ValueError: total was told to fail"
    assert told["tasks"]["report"] == {"outcome": "skipped", "cause": "total"}


def test_json_of_a_run_holds_table_and_page(cli: Cli) -> None:
    told = json.loads(cli("run", "toy", "-d", "small", "--json").out)
    assert told["outcome"] == "succeeded"
    assert told["table"]["rows"][0] == ["total", "21.0"]
    assert Path(told["page"]).is_file()
    assert json.loads(cli("run", "toy", "-d", "small", "--json").out)["outcome"] == "cached"


def test_a_corrupted_artifact_is_announced_and_rebuilt(cli: Cli) -> None:
    page = Path(json.loads(cli("run", "toy", "-d", "small", "--json").out)["page"])
    page.write_text("<htmx></html>")
    done = cli("run", "toy", "-d", "small")
    assert done.code == 0
    assert "The artifact of report is corrupted" in done.err
    assert page.read_text() == "<html></html>"


def test_a_plan_can_be_run_task_by_task(cli: Cli, tmp_path: Path) -> None:
    plan = tmp_path / "a plan.json"
    printed = cli("plan", "toy", "-d", "small", "--out", str(plan))
    assert json.loads(printed.out) == json.loads(plan.read_text())
    assert cli("task", "run", str(plan), "total").code == 5  # Its inputs are not there yet.
    for task in ("left", "right", "total", "report"):
        done = cli("task", "run", str(plan), task)
        assert done.code == 0
        assert f"{task} succeeded: " in done.out
    assert "Nothing to do" in cli("run", "toy", "-d", "small").out
    assert json.loads(cli("task", "run", str(plan), "left", "--json").out)["outcome"] == "succeeded"
    assert cli("task", "run", str(plan), "lefft").code == 9
    assert cli("task", "run", str(tmp_path / "none.json"), "left").code == 9


def test_a_run_folder_says_where_the_run_came_from(cli: Cli, tmp_path: Path) -> None:
    cli("run", "toy", "-d", "small", "--set", "left.value=3")
    info = json.loads(next(tmp_path.rglob("run.json")).read_text())
    assert info["config"]["left"]["value"] == 3
    assert info["origins"]["left.value"] == "--set left.value"
    assert info["origins"]["right.value"] == "presets/experiments/toy.yaml"
    assert info["command"] == "candor run toy -d small --set left.value=3"
    assert len(info["plan_key"]) == 64


def test_a_root_that_cannot_be_written_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CANDOR_CACHE_ROOT", str(tmp_path / "file" / "cache"))
    done = cli("run", "toy", "-d", "small")
    assert done.code == 2
    assert str(tmp_path / "file") in done.err
    assert "CANDOR_CACHE_ROOT" in done.err


def test_cancelling_what_was_never_queued_asks_no_scheduler_and_says_how_it_ends(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", "toy", "-d", "small")
    monkeypatch.setenv("PATH", "/nonexistent")
    (run,) = json.loads(cli("status", "--json").out)
    done = cli("cancel", run["run"])
    assert (done.code, "Ctrl-C" in done.err, "No job of" in done.out) == (0, True, True), done
    assert json.loads(cli("cancel", run["run"], "--json").out) == {"run": run["run"], "cancelled": {}}
