"""``candor budget`` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kd_run import TINY, Candor

SETS = [part for value in TINY for part in ("--set", value)]


@pytest.mark.slow
def test_a_budget_is_found_printed_cached_and_used(tmp_path: Path) -> None:
    candor = Candor(tmp_path)
    call = ("budget", "student.vgae", "--dataset", "synthetic", "--device", "cpu", "--memory-gb", "1.5")
    call = (*call, "--set", "training.budget.tolerance=0.5", *SETS)
    said = candor(*call).stdout
    assert "Budget of student.vgae at 32-true on CPU, limit 1.50 GB" in said
    assert "--set training.max_nodes=" in said
    again = candor(*call)
    assert "(found before)" in again.stdout
    assert "budget.student.vgae ..." not in again.stderr
    found = json.loads(candor(*call, "--json").stdout)
    assert found["max_nodes"] > 0
    sets = ("training.batch_budget=auto", "training.device=cpu", "training.budget.memory_gb=1.5")
    sets = (*sets, "training.budget.tolerance=0.5")
    candor.run_kd(*sets, more=("--until", "autoencoder.student.s1"))
    record = json.loads((candor.artifact("autoencoder") / "record.json").read_text())
    assert record["summary"]["max_nodes"] == found["max_nodes"]


@pytest.mark.slow
def test_the_budget_of_a_temporal_detector_is_that_of_sequences(tmp_path: Path) -> None:
    candor = Candor(tmp_path)
    call = ("budget", "temporal", "--dataset", "synthetic", "--device", "cpu", "--memory-gb", "1.5", *SETS)
    said = candor(*call, code=9).stderr
    assert "--set temporal.windows=8" in said
    call = (*call, "--set", "temporal.windows=4", "--set", "training.budget.tolerance=0.5")
    found = json.loads(candor(*call, "--json").stdout)
    assert found["model"] == "temporal"
    assert found["max_nodes"] > 0


def test_a_device_that_is_not_here_and_a_model_that_is_not_there_are_told(tmp_path: Path) -> None:
    candor = Candor(tmp_path)
    said = candor("budget", "teecher.gat", "--dataset", "synthetic", "--device", "cpu", code=9)
    assert "Did you mean 'teacher.gat'?" in said.stderr
    assert (
        "Use auto, cpu or cuda"
        in candor("budget", "--dataset", "synthetic", "--device", "tpu", code=2).stderr
    )
