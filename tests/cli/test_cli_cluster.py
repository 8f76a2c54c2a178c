"""``candor cluster`` as a person types it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cli
from sshd import Sshd

HERE = ("--skip", "scheduler", "--skip", "job", "--skip", "ray", "--skip", "gpus", "--min-free-gb", "0.001")


def root() -> Path:
    return Path(os.environ["CANDOR_ROOT"])


def test_the_doctor_says_each_step_and_that_all_is_well(cli: Cli) -> None:
    done = cli("cluster", "doctor", *HERE)
    assert done.code == 0, done.out
    assert [line.split()[1] for line in done.out.splitlines()[:-1]] == [
        "ssh", "modules", "environment", "gpus", "roots", "space", "scheduler", "job", "ray",
    ]  # fmt: skip
    assert done.out.splitlines()[-1] == "All is well."


def test_a_failure_ends_with_1_and_says_what_to_do(cli: Cli) -> None:
    done = cli("cluster", "doctor", *HERE[:-2], "--min-free-gb", "1e9")
    assert done.code == 1
    assert "→ Free some space" in done.out
    assert "1 check failed: space." in done.out


def test_machines_are_told_in_json(cli: Cli) -> None:
    done = cli("cluster", "doctor", *HERE[:-2], "--min-free-gb", "1e9", "--json")
    told = json.loads(done.out)
    assert (done.code, told["ok"]) == (1, False)
    assert {c["name"]: c["state"] for c in told["checks"]}["space"] == "failed"


def test_a_site_that_candor_does_not_submit_to_fails(cli: Cli) -> None:
    done = cli("cluster", "doctor", *HERE[2:], "--site", "osc_ascend", "--site-set", "modules=[]")
    assert done.code == 1
    assert "charges an account" in done.out


def test_a_check_that_is_not_there_is_not_skipped_in_silence(cli: Cli) -> None:
    done = cli("cluster", "doctor", "--skip", "gpu")
    assert (done.code, "Did you mean 'gpus'?" in done.err) == (2, True)


def test_data_is_staged_once(cli: Cli, tmp_path: Path) -> None:
    (root() / "data/hcrl").mkdir(parents=True)
    (root() / "data/hcrl/a.csv").write_text("frames")
    first, again = (json.loads(cli("cluster", "stage", "hcrl", "--json").out) for _ in range(2))
    assert (first["copied"], again["copied"], again["kept"]) == (["hcrl/a.csv"], [], ["hcrl/a.csv"])
    assert (root() / "cache/staged/data/hcrl/a.csv").read_text() == "frames"
    cli("cluster", "stage", "--to", str(tmp_path / "node"))
    assert (tmp_path / "node/data/hcrl/a.csv").read_text() == "frames"


def test_data_goes_there_and_results_come_back_as_a_root_that_status_reads(
    cli: Cli, ssh: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    (root() / "data/hcrl").mkdir(parents=True)
    (root() / "data/hcrl/a.csv").write_text("frames")
    other = ("--to", f"{ssh.host}:{there}", "--ssh", ssh.command())
    told = cli("cluster", "sync", "--data", "--dry-run", *other)
    assert (told.code, "data/hcrl/a.csv" in told.out, there.exists()) == (0, True, False), told
    assert cli("cluster", "sync", "--data", *other).code == 0
    assert (there / "data/hcrl/a.csv").read_text() == "frames"

    here = root()
    monkeypatch.setenv("CANDOR_ROOT", str(there))
    assert cli("run", "toy", "-d", "small").code == 0
    monkeypatch.setenv("CANDOR_ROOT", str(here))
    done = cli("cluster", "sync", "--results", "--bwlimit", "5000", *other)
    assert done.code == 0, done.err
    fetched = here / "from/127.0.0.1"
    assert str(fetched) in done.out
    monkeypatch.setenv("CANDOR_ROOT", str(fetched))
    (run,) = json.loads(cli("status", "--json").out)
    tasks = json.loads(cli("status", run["run"], "--json").out)["tasks"]
    assert {t["state"] for t in tasks} == {"succeeded"}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "--to HOST:PATH"),
        (("--to", "host:x"), "Use --code"),
        (("--to", "nowhere", "--data"), "HOST:PATH"),
    ],
)
def test_what_is_not_said_is_asked_for(cli: Cli, words: tuple[str, ...], hint: str) -> None:
    done = cli("cluster", "sync", *words)
    assert (done.code, hint in done.err) == (2, True)


def test_the_epilog_of_an_allocation_tells_of_all_its_tasks_at_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDOR_JOB", "7")
    cli("run", "toy", "-d", "small")
    (plan,) = Path(os.environ["CANDOR_ROOT"]).glob("runs/*/plan.json")
    done = cli("cluster", "epilog", str(plan), "ray", "--job", "7", "--json")
    told = json.loads(done.out)
    durations = [a["duration_s"] for a in _records(plan)]
    assert (done.code, told["task"], len(durations)) == (0, "ray", 4)
    assert told["elapsed_s"] >= sum(durations) * 0.99  # One after the other here.
    assert told["peak_memory_bytes"] == max(a["peak_memory_bytes"] for a in _records(plan))


def _records(plan: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in plan.parent.glob("tasks/*/attempt-*/record.json")]
