"""``candor profile-train`` and ``candor run --profile`` as a person calls them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from kd_run import TINY, Candor

SETS = [part for value in TINY for part in ("--set", value)]


@pytest.mark.slow
def test_a_step_is_timed_and_the_gate_is_told(tmp_path: Path) -> None:
    candor = Candor(tmp_path)
    call = (
        "profile-train",
        "student.gat",
        "--dataset",
        "synthetic",
        "--steps",
        "4",
        "--device",
        "cpu",
        *SETS,
    )
    said = candor(*call).stdout
    for part in ("message passing", "other compute", "optimizer", "loading", "idle"):
        assert part in said
    assert "the gate for cuGraph (more than 30%) is" in said
    found = json.loads(candor(*call, "--json").stdout)
    assert found["steps"] == 4
    with gzip.open(Path(found["folder"]) / "trace.json.gz") as file:
        assert json.load(file)["traceEvents"]


@pytest.mark.slow
def test_a_run_can_profile_its_trainings_without_changing_a_key(tmp_path: Path) -> None:
    candor = Candor(tmp_path)
    done = candor.run_kd(more=("--until", "autoencoder.student.s1", "--profile"))
    assert "A training step of autoencoder.student.s1" in done.stdout
    assert (candor.artifact("autoencoder") / "profile" / "steps.json").is_file()
    record = json.loads((candor.artifact("autoencoder") / "record.json").read_text())
    assert 0 < record["summary"]["message_passing_share"] < 1
    again = candor.run_kd(more=("--until", "autoencoder.student.s1", "--profile"))
    assert "Nothing to do" in again.stdout
    assert "nothing was profiled" in again.stderr
    assert "Nothing to do" in candor.run_kd(more=("--until", "autoencoder.student.s1")).stdout
