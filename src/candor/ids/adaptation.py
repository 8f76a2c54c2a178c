"""Thresholds of a vehicle that validation never saw: raised by the scores of its own calibration seconds, without labels.

A capture without an attack-free recording of its vehicle is calibrated on its own first seconds. Its windows of those seconds
show what a detector says of this vehicle's ordinary traffic, which may be more than it said of validation's. So there the
detector flags a window only from

    floor = typical + margin · spread

on, where that is more than its threshold; a threshold is never lowered.

    typical   the seconds are cut into chunks; the median over chunks of a chunk's highest score. An attack that fills less
              than half of the chunks moves it no further than the highest benign chunk.
    spread    of benign validation scores, highest less median. One margin so does for scores of any scale.

Chunks with clearly more frames per second than the calmer ones are left out first, as in the calibration of the profile
(`candor.ids.graphs.contamination`). An attack that fills more than half of the rest cannot be told from a vehicle, and is
learnt; at least no floor lies above the ceiling: the median score of the attack family that the detector sees best in
validation.

What validation contributes (`Unit`) is labelled; of the vehicle only times and scores are read. An offline evaluation and
a live detector call the same `floor`.

Legend: n validation windows, m calibration windows of one capture, K chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.ids.config import CalibrationAdaptation

Floats = NDArray[np.float64]

#: Chunks with so many times the frame rate of the calm ones hold injected frames; a bus's own load varies by a few percent.
#: Both figures are those of `candor.ids.graphs.contamination`.
_BUSY, _CALM = 1.25, 0.2
#: Shortest time a window is taken to last, s: clocks of real captures stand still, and step back.
_MIN_S = 1e-6


@dataclass(frozen=True)
class Unit:
    """What validation says of a detector's scores.

    Attributes:
        spread: highest benign score less the median one; 0 where they are all equal, and the floor is then ``typical``.
        ceiling: no floor lies above it; None where validation holds no attack that the detector sees.
    """

    spread: float
    ceiling: float | None


@dataclass(frozen=True)
class Floor:
    """Lowest score that may alarm on one capture, and how it came about.

    Attributes:
        value: None where nothing is asked of a score beyond the threshold; ``reason`` says why.
        windows: calibration windows, of which ``used`` counted.
    """

    value: float | None
    windows: int
    used: int
    reason: str | None = None


def unit(y: ArrayLike, score: ArrayLike, attack: ArrayLike, threshold: float) -> Unit:
    """Of validation windows: truth, scores and attack families, [n] each, and the threshold chosen on them."""
    truth, s, family = np.asarray(y, bool), np.asarray(score, np.float64), np.asarray(attack, object)
    benign = s[~truth]
    seen = [float(np.median(s[truth & (family == f)])) for f in sorted(set(family[truth].tolist()))]
    ceiling = max(seen, default=-np.inf)
    # A detector that is blind to validation's attacks scores them like benign traffic: that is no ceiling.
    return Unit(float(benign.max() - np.median(benign)), ceiling if ceiling >= threshold else None)


def recorded(record: Mapping[str, Any]) -> tuple[Unit, CalibrationAdaptation] | None:
    """What ``adaptation`` of a record of thresholds.json says; None where nothing is adapted, or a union's members are."""
    if "spread" not in record:
        return None
    of = Unit(**{f.name: record[f.name] for f in fields(Unit)})
    config = {name: record[name] for name in CalibrationAdaptation.model_fields}
    return of, CalibrationAdaptation.model_validate(config)


def floor(t0: ArrayLike, t1: ArrayLike, score: ArrayLike, of: Unit, config: CalibrationAdaptation) -> Floor:
    """Of the calibration windows of one capture: begin and end, s, and scores, [m] each."""
    start, end, s = (np.asarray(v, np.float64) for v in (t0, t1, score))
    m = len(s)
    if m < config.min_windows:
        return Floor(None, m, 0, f"{m} calibration windows are fewer than {config.min_windows}")
    order = np.argsort(start, kind="stable")
    start, end, s = start[order], end[order], s[order]
    span = max(float(end.max() - start[0]), _MIN_S)
    chunk = np.minimum(((start - start[0]) / span * config.chunks).astype(np.int64), config.chunks - 1)
    kept = _calm(start, end, chunk)
    typical = float(np.median([s[chunk == k].max() for k in kept]))
    value, reason = typical + config.margin * of.spread, None
    if of.ceiling is not None and value > of.ceiling:
        value, reason = of.ceiling, "the calibration windows score like attacks of validation"
    return Floor(value, m, int(np.isin(chunk, kept).sum()), reason)


def _calm(start: Floats, end: Floats, chunk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Chunks that hold a window and whose windows, of a fixed number of frames each, do not come clearly faster."""
    found, at = np.unique(chunk, return_inverse=True)
    seconds = np.bincount(at, weights=np.maximum(end - start, _MIN_S))
    rate = np.bincount(at) / seconds
    return found[rate <= _BUSY * np.quantile(rate, _CALM, method="lower")]
