"""One detector on one slice: rows of the results table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.ids.config import AlarmConfig, EvaluationConfig
from candor.ids.evaluation.adapted import Adapted
from candor.ids.evaluation.timeline import PLAIN, Timeline, detected, false_alarms, times_to_alarm
from candor.ids.evaluation.truth import Slice
from candor.learn.bootstrap import median_interval, poisson, wilson
from candor.learn.metrics import METRICS, Estimate, binary_metrics

Floats = NDArray[np.float64]
Row = dict[str, Any]

EVENT_METRICS = ("event_recall", "false_alarms_per_hour", "time_to_alarm_s")
NO_LABELS = "the capture carries no labels"


def at_rate(metric: str, per_hour: float) -> str:
    """Name of an event metric at the threshold for a false-alarm rate: ``event_recall@1/h``."""
    return f"{metric}@{per_hour:g}/h"


#: Ends the name of a window metric at validation's own threshold, where an adapted one stands beside it.
PLAIN_SUFFIX = "@plain"


def measure(
    part: Slice,
    adapted: Adapted,
    threshold: float,
    rates: dict[float, float | None],
    config: EvaluationConfig,
) -> list[Row]:
    """Window and event rows of one slice, without the columns that name the detector.

    Args:
        adapted: test scores of the detector, all rows, and what calibration seconds ask of them.
        threshold: of the detector, from validation.
        rates: false alarms per hour → threshold from validation, None where validation could not give one.
    """
    found: list[tuple[str, dict[str, Estimate], float | None]] = []
    least = adapted.least(threshold)
    at_most = float(least[part.rows].max(initial=threshold))
    found.append(("window", _windows(part, adapted.score, least, config.confidence), at_most))
    if adapted.own[part.rows].any():
        everywhere = np.full_like(least, threshold)
        plain = _windows(part, adapted.plain, everywhere, config.confidence)
        found.append(("window", {m + PLAIN_SUFFIX: e for m, e in plain.items()}, threshold))
    line_score, line_floor = adapted.score[part.line_rows], adapted.floor[part.line_rows]
    how: dict[str, Any] = {"confidence": config.confidence, "place": part.place, "alarms": config.alarms}
    events = event_metrics(part.line, line_score, np.maximum(threshold, line_floor), **how)
    found.append(("event", events, at_most))
    for per_hour, at in rates.items():
        if at is None:
            none = Estimate(None, reason="validation holds no benign traffic to count false alarms in")
            events = dict.fromkeys(EVENT_METRICS, none)
        else:
            events = event_metrics(part.line, line_score, np.maximum(at, line_floor), **how)
        found.append(("event", {at_rate(m, per_hour): e for m, e in events.items()}, at))
    return [
        _row(part, level, metric, e, at, config.confidence)
        for level, estimates, at in found
        for metric, e in estimates.items()
    ]


def _row(
    part: Slice, level: str, metric: str, e: Estimate, threshold: float | None, confidence: float
) -> Row:
    """One row of the results; nothing is stated of traffic without labels."""
    stated = e if part.labelled else Estimate(None, reason=NO_LABELS)
    return {
        "split": "test",
        "scenario": part.scenario,
        "capture": part.capture,
        "attack": part.attack,
        "level": level,
        "metric": metric,
        "value": stated.value,
        "low": stated.low,
        "high": stated.high,
        "confidence": confidence,
        "interval": stated.how or None,
        "undefined_reason": stated.reason,
        "threshold": threshold,
        "windows": len(part.rows),
        "attack_windows": int(part.y.sum()),
        "events": len(part.line.events),
    }


def _windows(part: Slice, score: Floats, least: Floats, confidence: float) -> dict[str, Estimate]:
    """``score``, ``least``: of all rows; a window is flagged from ``least`` on."""
    if not part.labelled:
        return dict.fromkeys(METRICS, Estimate(None, reason=NO_LABELS))
    s = score[part.rows]
    return binary_metrics(
        part.y, s, s >= least[part.rows], resamples=part.resamples, confidence=confidence, place=part.place
    )


def event_metrics(
    line: Timeline,
    score: Floats,
    threshold: float | Floats,
    *,
    confidence: float,
    place: str,
    alarms: AlarmConfig = PLAIN,
) -> dict[str, Estimate]:
    """Event recall (Wilson), false alarms per benign hour (Poisson) and median time to alarm of detected events, s."""
    out: dict[str, Estimate] = {}
    found = int(np.sum(detected(line, score, threshold, alarms)))
    if line.events:
        low, high = wilson(found, len(line.events), confidence)
        out["event_recall"] = Estimate(found / len(line.events), low, high, how="Wilson")
    else:
        out["event_recall"] = Estimate(None, reason=f"no attack event{place}")
    if line.hours > 0:
        count = false_alarms(line, score, threshold, alarms)
        low, high = (bound / line.hours for bound in poisson(count, confidence))
        out["false_alarms_per_hour"] = Estimate(count / line.hours, low, high, how="Poisson")
    else:
        out["false_alarms_per_hour"] = Estimate(None, reason=f"no benign traffic{place}")
    waits = times_to_alarm(line, score, threshold, alarms)
    if not line.events:
        out["time_to_alarm_s"] = Estimate(None, reason=f"no attack event{place}")
    elif not len(waits):
        out["time_to_alarm_s"] = Estimate(None, reason="no event was detected")
    else:
        median, bounds = float(np.median(waits)), median_interval(waits, confidence)
        few = f"no interval: {len(waits)} detected events are too few"
        out["time_to_alarm_s"] = (
            Estimate(median, *bounds, how="order statistics") if bounds else Estimate(median, reason=few)
        )
    return out
