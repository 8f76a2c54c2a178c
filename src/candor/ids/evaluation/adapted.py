"""Adapted thresholds in the evaluator: which test windows get a floor, and what a union makes of its members' floors.

A detector keeps its scores and gets a floor where `candor.ids.adaptation` gives one. A union adapts its members: what is
ordinary for one of them on this vehicle must not raise the bar for the others. A member's part of the union's threshold is a
threshold of its own; by as much as its floor lies above that, its scores on the capture are lowered before they are OR-ed.

Scores and times of calibration windows are all that is read of test windows, their labels never.

Legend: n test windows of one detector, in the order of its score table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.adaptation import Floor, Unit, floor, recorded, unit
from candor.ids.config import CalibrationAdaptation, NoAdaptation
from candor.ids.evaluation.union import Member

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Of `adapted.parquet`: one row per detector (member of a union) and capture that is calibrated on its own first seconds.
#: ``threshold`` is validation's, ``floor`` null where none could be given, ``adapted`` what a score must reach.
ADAPTED: Final = {
    "detector": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "capture": pl.String,
    "member": pl.String,
    "threshold": pl.Float64,
    "floor": pl.Float64,
    "adapted": pl.Float64,
    "windows": pl.Int64,
    "used": pl.Int64,
    "reason": pl.String,
}

_SEEN: Final = ("capture", "t0", "t1", "score", "calibration")


@dataclass(frozen=True)
class Adapted:
    """What became of a detector's test windows.

    Attributes:
        score: [n]; a union's with its members' scores lowered. plain: [n], as they were.
        floor: [n], what a score must reach beside the threshold; -inf where nothing.
        own: [n], windows of captures that are calibrated on their own first seconds.
        units: for thresholds.json: what validation contributed. captures: rows of ADAPTED without the detector.
    """

    score: Floats
    plain: Floats
    floor: Floats
    own: Bools
    units: dict[str, Any]
    captures: list[dict[str, Any]]

    def only(self, kept: Bools) -> Adapted:
        """Some of the windows: ``kept`` [n]."""
        parts = {name: getattr(self, name)[kept] for name in ("score", "plain", "floor", "own")}
        return replace(self, **parts)

    def least(self, threshold: float) -> Floats:
        """What each score must reach: [n]."""
        return np.maximum(threshold, self.floor)


def adapt(
    val: pl.DataFrame,
    test: pl.DataFrame,
    threshold: float,
    config: NoAdaptation | CalibrationAdaptation,
    members: Sequence[Member] = (),
) -> Adapted:
    """Of one detector.

    Args:
        val: validation rows that choose thresholds. test: all test rows, calibration windows included. Both with a column
            ``row``, their place among all rows of the detector.
        threshold: from validation.
        members: of a union, with scores on all of its rows.
    """
    seen = test.select(_SEEN)
    score, capture = seen["score"].to_numpy(), seen["capture"].to_numpy()
    nowhere = np.full(len(score), -np.inf)
    if isinstance(config, NoAdaptation):
        return Adapted(score, score, nowhere, np.zeros(len(score), bool), {"kind": config.kind}, [])
    own = np.isin(capture, seen.filter("calibration")["capture"].unique().to_list())
    if members:
        return _adapt_union(val, seen, test["row"].to_numpy(), threshold, config, members, own)
    measure = unit(val["y"], val["score"], val["attack"], threshold)
    floor_n, captures = _floors(seen, score, threshold, measure, config)
    return Adapted(score, score, floor_n, own, {**config.model_dump(), **asdict(measure)}, captures)


def floors(test: pl.DataFrame, record: Mapping[str, Any]) -> Floats:
    """[n]: floors of test windows, calibration windows among them, by what thresholds.json recorded of their detector."""
    known = recorded(record)
    seen = test.select(_SEEN)
    if known is None:
        return np.full(len(seen), -np.inf)
    return _floors(seen, seen["score"].to_numpy(), -np.inf, *known)[0]


def _adapt_union(
    val: pl.DataFrame,
    seen: pl.DataFrame,
    row_n: NDArray[np.uint32],
    threshold: float,
    config: CalibrationAdaptation,
    members: Sequence[Member],
    own: Bools,
) -> Adapted:
    parts, units, captures = [], {}, []
    for member in members:
        score = member.score_m[row_n]
        at = member.surprise.inverse(threshold - float(np.log(member.share)))
        measure = unit(val["y"], member.score_m[val["row"].to_numpy()], val["attack"], at)
        floor_n, told = _floors(seen, score, at, measure, config)
        lowered = score - np.where(floor_n > at, floor_n - at, 0.0)
        parts.append(member.surprise(lowered) + np.log(member.share))
        units[member.name] = {"threshold": at, **asdict(measure)}
        captures += [{**row, "member": member.name} for row in told]
    nowhere = np.full(len(own), -np.inf)
    how = {**config.model_dump(), "members": units}
    return Adapted(np.max(parts, axis=0), seen["score"].to_numpy(), nowhere, own, how, captures)


def _floors(
    seen: pl.DataFrame, score: Floats, threshold: float, measure: Unit, config: CalibrationAdaptation
) -> tuple[Floats, list[dict[str, Any]]]:
    """([n], rows of ADAPTED): a floor for every capture with calibration windows."""
    capture, calibrating = seen["capture"].to_numpy(), seen["calibration"].to_numpy()
    t0, t1 = seen["t0"].to_numpy(), seen["t1"].to_numpy()
    floor_n, rows = np.full(len(score), -np.inf), []
    for name in sorted(set(capture[calibrating].tolist())):
        of = capture == name
        first = of & calibrating
        found: Floor = floor(t0[first], t1[first], score[first], measure, config)
        if found.value is not None:
            floor_n[of] = found.value
        adapted = threshold if found.value is None else max(threshold, found.value)
        rows.append(
            {
                "capture": name,
                "member": "",
                "threshold": threshold,
                "floor": found.value,
                "adapted": adapted,
                "windows": found.windows,
                "used": found.used,
                "reason": found.reason,
            }
        )
    return floor_n, rows
