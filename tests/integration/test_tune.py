"""``candor tune`` as a person starts it: trials are ordinary runs, and a killed search goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from kd_run import TINY, Candor

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
SETS = [part for value in TINY if "teacher" not in value for part in ("--set", value)]


@pytest.fixture(scope="module")
def candor(tmp_path_factory: pytest.TempPathFactory) -> Candor:
    return Candor(tmp_path_factory.mktemp("tune"))


def test_a_killed_search_goes_on_and_its_best_is_a_preset_that_runs(candor: Candor) -> None:
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--prune", "none", "--trials", "3", "--json"]
    study = candor.root / "studies" / "gat-kd-synthetic"
    started = subprocess.Popen(
        candor.argv(*command), env=candor.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(list(study.glob("trials/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()

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


def test_a_parameter_that_no_model_has_costs_no_trial(candor: Candor, tmp_path: Path) -> None:
    spaces = candor.root / "data" / "presets" / "spaces"
    spaces.mkdir(parents=True)
    (spaces / "odd.yaml").write_text(
        "stage: curriculum\nmetric: val_loss\nparameters:\n  gat.hiden: {kind: choice, of: [1, 2]}\n"
    )
    done = candor("tune", "odd", "-d", "synthetic", *SETS, code=2)
    assert "hiden" in done.stderr
    assert not (candor.root / "studies" / "odd-kd-synthetic").exists()
