"""``candor tune`` as a person starts it: trials are ordinary runs, and a killed search goes on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from kd_run import TINY, Candor
from waiting import LIMIT_S, wait_until, wait_while
from wandb_server import ServedRun, WandbServer, served_to_client

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
SETS = [part for value in TINY if "teacher" not in value for part in ("--set", value)]


@pytest.fixture(scope="module")
def candor(tmp_path_factory: pytest.TempPathFactory) -> Candor:
    return Candor(tmp_path_factory.mktemp("tune"))


def test_a_killed_search_goes_on_and_its_best_is_a_preset_that_runs(candor: Candor) -> None:
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--prune", "none", "--trials", "3", "--json"]
    study = candor.root / "studies" / "gat-kd-synthetic"
    with subprocess.Popen(
        candor.argv(*command), env=candor.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as started:
        wait_while(started, lambda: len(list(study.glob("trials/*.json"))) >= 2, "the second trial")
        started.kill()

    told = json.loads(candor(*command).stdout)
    assert [t["state"] for t in told["all"]] == ["complete"] * 3
    assert told["best"]["value"] == min(t["value"] for t in told["all"])
    runs = {t["run"] for t in told["all"]}
    shown = {r["run"] for r in json.loads(candor("status", "--json").stdout)}
    assert runs <= shown

    preset = yaml.safe_load((study / "best.yaml").read_text())
    assert preset["variants"]["student"]["gat"]["hidden"] == told["best"]["values"]["gat.hidden"]
    own = candor.root / "data" / "presets" / "experiments"
    own.mkdir(parents=True)
    (own / "tuned.yaml").write_text((study / "best.yaml").read_text())
    again = candor(
        "run", "tuned", "-d", "synthetic", *SETS, "--until", "curriculum.student.s1", "--dry-run", "--json"
    )
    states = {t["task"]: t["state"] for t in json.loads(again.stdout)["tasks"]}
    assert states["curriculum.student.s1"] == "cached"  # The best trial's very artifact.


def test_a_fusion_policy_is_searched_by_what_it_earns_on_validation_windows(candor: Candor) -> None:
    sets = [
        part
        for value in TINY
        if "teacher" not in value and "episodes" not in value
        for part in ("--set", value)
    ]
    command = ["tune", "fusion", "-d", "synthetic", *sets, "--prune", "median", "--trials", "4", "--json"]
    told = json.loads(candor(*command).stdout)
    assert [t["state"] for t in told["all"]] == ["complete"] * 4  # The median needs five to compare with.
    for trial in told["all"]:
        assert len(trial["curve"]) == trial["values"]["fusion.episodes"]
        assert trial["value"] == trial["curve"][-1][1]  # Its weights are the ones that are kept.
    best = told["best"]
    assert best["value"] == max(t["value"] for t in told["all"])
    assert best["value"] > best["curve"][0][1] + 0.05

    study = candor.root / "studies" / "fusion-kd-synthetic"
    own = candor.root / "data" / "presets" / "experiments"
    own.mkdir(parents=True, exist_ok=True)
    (own / "fused.yaml").write_text((study / "best.yaml").read_text())
    until = ["--until", "fusion.student.s1", "--dry-run", "--json"]
    again = candor("run", "fused", "-d", "synthetic", *sets, *until)
    states = {t["task"]: t["state"] for t in json.loads(again.stdout)["tasks"]}
    assert states["fusion.student.s1"] == "cached"


def test_a_study_is_shown_at_wandb_while_it_goes_and_one_that_is_off_never(
    candor: Candor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--prune", "none", "--json"]
    with served_to_client(monkeypatch) as server:
        done = candor(*command, "--trials", "2", "--name", "shown", "--track", "online")
        assert "candor track status --study shown" in done.stderr
        told = {t["number"]: t for t in json.loads(done.stdout)["all"]}
        shown = finished(server, 2)
        assert {r.about["groupName"] for r in shown.values()} == {"shown"}
        for number, trial in told.items():
            run = shown[f"trial-{number}"]
            assert {k: run.config[k]["value"] for k in trial["values"]} == trial["values"]
            assert run.summary["value"] == trial["value"]
            assert [h["epoch/val_loss"] for h in run.history] == [value for _, value in trial["curve"]]

        # A service that refuses fails what sends, and no study. The follower may go on with the larger one for a while.
        monkeypatch.setattr("candor.cli.track._PATIENCE_S", LIMIT_S)
        server.refuse = 403
        assert len(json.loads(candor(*command, "--trials", "3", "--name", "shown").stdout)["all"]) == 3
        failed = candor("track", "sync", "--study", "shown", code=12)
        assert "Nothing is lost" in failed.stderr
        server.refuse = None
        candor("track", "sync", "--study", "shown")
        assert len(server.runs) == 3

    candor(*command, "--trials", "1", "--name", "hidden", "--track", "off")
    sent = json.loads(candor("track", "sync", "--all", "--dry-run", "--json").stdout)
    assert "shown" in sent
    assert "hidden" not in sent
    # A trial's run is an ordinary one, and is shown as such.
    assert {t["run"] for t in told.values()} <= set(sent)


def finished(server: WandbServer, number: int) -> dict[str, ServedRun]:
    """Runs at W&B by name, once so many have ended well."""
    wait_until(lambda: sum(r.exit_code == 0 for r in server.runs.values()) >= number, f"{number} runs")
    return {r.about["displayName"]: r for r in server.runs.values()}


def test_a_parameter_that_no_model_has_costs_no_trial(candor: Candor, tmp_path: Path) -> None:
    spaces = candor.root / "data" / "presets" / "spaces"
    spaces.mkdir(parents=True)
    (spaces / "odd.yaml").write_text(
        "stage: curriculum\nmetric: val_loss\nparameters:\n  gat.hiden: {kind: choice, of: [1, 2]}\n"
    )
    done = candor("tune", "odd", "-d", "synthetic", *SETS, code=2)
    assert "hiden" in done.stderr
    assert not (candor.root / "studies" / "odd-kd-synthetic").exists()
