"""The calibration curve: thresholds of the run, traffic outside the calibration seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluation_data import events, output, scored, windows, world

from candor.errors import AuditFailed, DataError
from candor.flow.stage import Inputs
from candor.ids.config import CurveTask
from candor.ids.evaluation.curve import calibration_curve
from candor.report.calibration import calibration_curve as drawn
from candor.report.look import Palette

TRUTH = np.array([0] * 40 + [1] * 10 + [0] * 50)


def inputs(
    folder: Path,
    alarms_at: dict[int, list[int]],
    *,
    detector: str = "gat",
    adaptation: dict[str, object] | None = None,
    chosen_on: str = "val",
) -> Inputs:
    """Point → benign windows that score high there. ``detector``: whose thresholds the run has, and from where."""
    ingest = world(folder, {"x": scored(windows("c", TRUTH), TRUTH)}, events(("c", "dos", 40.0, 49.9)))
    paths = {"ingest": ingest.path("ingest")}
    for seconds, high in alarms_at.items():
        score = TRUTH * 1.0
        score[high] = 1.0
        rows = scored(windows("c", TRUTH, calibration=seconds), score)
        (folder / f"c{seconds}").mkdir()
        rows.write_parquet(folder / f"c{seconds}" / "scores.parquet")
        paths[f"c{seconds}.student"] = folder / f"c{seconds}"
    (folder / "evaluate").mkdir()
    at = [{"false_alarms_per_hour": 1.0, "threshold": 2.0}, {"false_alarms_per_hour": 5.0, "threshold": None}]
    of = {"detector": detector, "variant": "teacher", "seed": 1}
    judged = {"value": 0.5, "at_rates": at, "adaptation": adaptation or {"kind": "none"}}
    known = [{**of, **judged, "chosen_on": chosen_on}]
    (folder / "evaluate" / "thresholds.json").write_text(json.dumps(known))
    paths["evaluate"] = folder / "evaluate"
    return Inputs(paths)


def test_false_alarms_are_counted_outside_the_calibration_seconds(tmp_path: Path) -> None:
    out = output(tmp_path / "out")
    given = inputs(tmp_path, {5: [2, 10, 70], 20: [2, 10, 70]})
    calibration_curve(CurveTask(calibration_s=(5, 20)), given, out)
    table = pl.read_parquet(out.path / "curve.parquet").filter(point="threshold").sort("calibration_s")
    hours = table["benign_hours"].to_list()
    counted = [round(v * h) for v, h in zip(table["false_alarms_per_hour"], hours, strict=True)]
    assert counted == [2, 1]  # Window 2 calibrated at both points, window 10 at the second.
    assert hours[0] > hours[1]
    assert table["event_recall"].to_list() == [1.0, 1.0]
    strict = pl.read_parquet(out.path / "curve.parquet").filter(point="1/h")
    assert strict["false_alarms_per_hour"].to_list() == [0.0, 0.0]
    html = drawn(table, Palette([("gat", "teacher")]))
    assert "calibration seconds" in html


def test_calibration_seconds_that_score_high_raise_the_threshold_of_their_point(tmp_path: Path) -> None:
    out = output(tmp_path / "out")
    rule = {
        "kind": "calibration",
        "margin": 0.5,
        "chunks": 5,
        "min_windows": 5,
        "spread": 1.0,
        "ceiling": None,
    }
    given = inputs(tmp_path, {20: [2, 6, 10, 14, 70]}, adaptation=rule)
    calibration_curve(CurveTask(calibration_s=(20,)), given, out)
    table = pl.read_parquet(out.path / "curve.parquet").filter(point="threshold")
    assert table["false_alarms_per_hour"].to_list() == [0.0]
    assert table["fpr"].to_list() == [0.0]


def test_an_attack_inside_the_calibration_seconds_counts_neither_as_found_nor_as_missed(
    tmp_path: Path,
) -> None:
    out = output(tmp_path / "out")
    calibration_curve(CurveTask(calibration_s=(60,)), inputs(tmp_path, {60: []}), out)
    table = pl.read_parquet(out.path / "curve.parquet").filter(point="threshold")
    assert table["event_recall"].to_list() == [None]


def test_a_detector_without_a_threshold_in_the_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no threshold for gat"):
        calibration_curve(
            CurveTask(calibration_s=(5,)),
            inputs(tmp_path, {5: []}, detector="vgae"),
            output(tmp_path / "out"),
        )


def test_a_threshold_that_does_not_come_from_validation_is_refused(tmp_path: Path) -> None:
    given = inputs(tmp_path, {5: [2]}, chosen_on="test")
    with pytest.raises(AuditFailed, match="chosen on test"):
        calibration_curve(CurveTask(calibration_s=(5,)), given, output(tmp_path / "out"))
