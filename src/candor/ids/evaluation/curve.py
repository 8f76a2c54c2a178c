"""The stage that draws false alarms per hour against calibration seconds.

Every test capture is calibrated on its own first seconds, of which there are more from point to point; the models and their
thresholds are those of the run, adapted as there (`candor.ids.adaptation`). The windows that calibrated the profile are left out, so the later points see a little less
traffic; how much is in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import CurveTask, EvaluationConfig
from candor.ids.evaluation.adapted import floors
from candor.ids.evaluation.draws import event_draws
from candor.ids.evaluation.measure import event_metrics
from candor.ids.evaluation.stage import Known, read_ingest
from candor.ids.evaluation.timeline import timeline
from candor.ids.scoring import DETECTOR_KEY, read_scores
from candor.learn.metrics import Estimate
from candor.report.verdicts import read_thresholds

#: Of `curve.parquet`. ``point``: the main threshold, or the one that validation puts at so many false alarms per hour.
CURVE: Final = {
    "detector": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "scenario": pl.String,
    "calibration_s": pl.Float64,
    "point": pl.String,
    "threshold": pl.Float64,
    "benign_hours": pl.Float64,
    "false_alarms_per_hour": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "fpr": pl.Float64,
    "event_recall": pl.Float64,
    "reason": pl.String,
}


#: Detector, variant and seed.
_Key = tuple[str, str, int]


def calibration_curve(config: CurveTask, inputs: Inputs, out: Output) -> Result:
    """Stage: ``curve.parquet``, one row per detector, scenario, calibration time and threshold.

    Inputs: ``cS.NAME`` (scores.parquet of test graphs calibrated on S seconds), ``evaluate`` (thresholds.json),
    ``ingest`` (events.parquet, catalog.parquet).

    Raises:
        DataError: a detector has no threshold in the run. AuditFailed: a threshold that does not come from validation.
    """
    known = read_ingest(inputs.path("ingest"))
    thresholds, units = _thresholds(inputs.path("evaluate"))
    rows: list[dict[str, Any]] = []
    points = config.calibration_s
    for done, seconds in enumerate(points):
        out.progress(done, len(points), f"{seconds:g} s")
        folders = inputs.group(f"c{seconds:g}").values()
        scores = read_scores(folder / "scores.parquet" for folder in folders)
        scores = scores.filter(pl.col("split") == "test")
        scores = scores.filter(~pl.col("capture").is_in(sorted(known.unlabelled)))
        for part in scores.partition_by([*DETECTOR_KEY, "scenario"], maintain_order=True):
            rows += _point(part, seconds, thresholds, units, known, config.evaluation)
    table = pl.DataFrame(rows, schema=CURVE)
    table.write_parquet(out.path / "curve.parquet", compression="zstd")
    return Result({"rows": len(table), "calibration_s": list(points)})


def _point(
    part: pl.DataFrame,
    seconds: float,
    thresholds: dict[_Key, dict[str, float]],
    units: dict[_Key, dict[str, Any]],
    known: Known,
    config: EvaluationConfig,
) -> list[dict[str, Any]]:
    """Rows of one detector in one scenario, each at one threshold; none where all windows calibrated the profile."""
    name = part.select(*DETECTOR_KEY, "scenario").row(0, named=True)
    key = (name["detector"], name["variant"], name["seed"])
    if key not in thresholds:
        raise DataError(
            f"no threshold for {name['detector']} {name['variant']}, seed {name['seed']}",
            place="evaluate",
            hint="Run the experiment again, so that the same detectors are judged and drawn.",
        )
    later = ~part["calibration"].to_numpy()
    if not later.any():
        return []
    floor = floors(part, units[key])[later]
    part = part.filter(later)
    line = timeline(part, known.events, alarm_s=config.alarm_s)
    # An attack inside the calibration seconds has no window left that could see it.
    line = replace(line, events=tuple(e for e in line.events if len(e.windows)))
    score = part["score"].to_numpy()
    draws = event_draws(line, config, f"{seconds:g}\0{name['scenario']}")
    rows = []
    for point, threshold in thresholds[key].items():
        least = np.maximum(threshold, floor)
        found = event_metrics(
            line,
            score,
            least,
            confidence=config.confidence,
            place=" outside the calibration seconds",
            alarms=config.alarms,
            draws=draws,
        )
        told = {"calibration_s": seconds, "point": point, "threshold": threshold, "benign_hours": line.hours}
        rows.append({**name, **told, **_alarms(found, (score >= least)[line.benign_n])})
    return rows


def _alarms(found: Mapping[str, Estimate], flagged_n: NDArray[np.bool_]) -> dict[str, Any]:
    """What a threshold came to. ``flagged_n``: of the benign windows."""
    alarms = found["false_alarms_per_hour"]
    return {
        "false_alarms_per_hour": alarms.value,
        "low": alarms.low,
        "high": alarms.high,
        "fpr": float(np.mean(flagged_n)) if len(flagged_n) else None,
        "event_recall": found["event_recall"].value,
        "reason": alarms.reason,
    }


def _thresholds(folder: Path) -> tuple[dict[_Key, dict[str, float]], dict[_Key, dict[str, Any]]]:
    """Of each detector the name of each threshold and its value; and how it is adapted."""
    found, units = {}, {}
    for row in read_thresholds(folder / "thresholds.json"):
        at = {"threshold": float(row["value"])}
        for rate in row["at_rates"]:
            if rate["threshold"] is not None:
                at[f"{rate['false_alarms_per_hour']:g}/h"] = float(rate["threshold"])
        found[row["detector"], row["variant"], row["seed"]] = at
        units[row["detector"], row["variant"], row["seed"]] = row["adaptation"]
    return found, units
