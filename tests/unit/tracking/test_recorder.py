from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from candor.lake.schemas import STAGE_METRICS
from candor.tracking.recorder import JsonlRecorder


@pytest.fixture
def recorder(tmp_path: Path) -> JsonlRecorder:
    return JsonlRecorder(tmp_path, "train.s1")


def test_rows_become_a_table_of_the_lakes_schema(recorder: JsonlRecorder, tmp_path: Path) -> None:
    recorder.log(0, {"loss": 1.0, "f1": 0.5})
    recorder.log(3, {"rate": 0.1}, kind="step")
    recorder.publish(tmp_path)
    assert pq.read_schema(tmp_path / "metrics.parquet").equals(STAGE_METRICS.remove_metadata())
    assert pl.read_parquet(tmp_path / "metrics.parquet").rows() == [
        ("train.s1", "epoch", 0, "loss", 1.0),
        ("train.s1", "epoch", 0, "f1", 0.5),
        ("train.s1", "step", 3, "rate", 0.1),
    ]


def test_without_rows_there_is_no_table(recorder: JsonlRecorder, tmp_path: Path) -> None:
    recorder.publish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rewinding_forgets_one_clock_from_a_step_on(recorder: JsonlRecorder) -> None:
    for step in range(4):
        recorder.log(step, {"loss": 1.0})
        recorder.log(step, {"rate": 1.0}, kind="step")
    recorder.rewind(2)
    steps = [(r["kind"], r["step"]) for r in recorder.rows()]
    assert [s for kind, s in steps if kind == "epoch"] == [0, 1]
    assert [s for kind, s in steps if kind == "step"] == [0, 1, 2, 3]


def test_a_new_recorder_goes_on_where_a_killed_one_stopped(recorder: JsonlRecorder, tmp_path: Path) -> None:
    recorder.log(0, {"loss": 1.0})
    with recorder.rows_path.open("a") as f:
        f.write('{"kind": "epoch", "st')  # Torn by the kill.
    again = JsonlRecorder(tmp_path, "train.s1")
    again.log(1, {"loss": 0.5})
    assert [r["step"] for r in again.rows()] == [0, 1]


def test_a_diverging_loss_is_kept(recorder: JsonlRecorder, tmp_path: Path) -> None:
    recorder.log(0, {"loss": math.nan, "norm": math.inf})
    recorder.publish(tmp_path)
    values = pl.read_parquet(tmp_path / "metrics.parquet")["value"].to_list()
    assert math.isnan(values[0])
    assert values[1] == math.inf
