"""One detector on one slice: rows of the results table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candor.ids.config import AlarmConfig, EvaluationConfig
from candor.ids.evaluation.adapted import Adapted
from candor.ids.evaluation.draws import EventDraws
from candor.ids.evaluation.timeline import PLAIN, Timeline, delays, detected, false_alarm_starts
from candor.ids.evaluation.truth import Slice
from candor.learn.bootstrap import interval, median_interval, poisson, wilson
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
    how: dict[str, Any] = {
        "confidence": config.confidence,
        "place": part.place,
        "alarms": config.alarms,
        "draws": part.event_draws,
    }
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
    draws: EventDraws | None = None,
) -> dict[str, Estimate]:
    """Event recall, false alarms per benign hour and median time to alarm of detected events, s.

    Intervals are in closed form (Wilson, Poisson, order statistics) and, with several captures, of the bootstrap over them
    (``draws``): of the two, the outer bound at either end. The closed form takes events for independent, and so knows
    nothing of captures that differ; the bootstrap of two captures, or of two false alarms, knows too little of chance (on
    hcrl_sa its intervals of false alarms were 0.7 times as wide as Poisson's, the median of 83).
    """
    return {
        "event_recall": _recall(line, detected(line, score, threshold, alarms), confidence, place, draws),
        "false_alarms_per_hour": _rate(
            line, false_alarm_starts(line, score, threshold, alarms), confidence, place, draws
        ),
        "time_to_alarm_s": _wait(line, delays(line, score, threshold, alarms), confidence, place, draws),
    }


def _recall(
    line: Timeline, found_E: NDArray[np.bool_], confidence: float, place: str, draws: EventDraws | None
) -> Estimate:
    if not line.events:
        return Estimate(None, reason=f"no attack event{place}")
    found, of = int(found_E.sum()), len(line.events)
    exact = Estimate(found / of, *wilson(found, of, confidence), how="Wilson")
    return _widened(exact, draws.recall(found_E) if draws else None, confidence)


def _rate(
    line: Timeline, starts_n: NDArray[np.bool_], confidence: float, place: str, draws: EventDraws | None
) -> Estimate:
    if line.hours <= 0:
        return Estimate(None, reason=f"no benign traffic{place}")
    count = int(starts_n.sum())
    low, high = (bound / line.hours for bound in poisson(count, confidence))
    exact = Estimate(count / line.hours, low, high, how="Poisson")
    return _widened(exact, draws.rate(starts_n, line.seconds_n) if draws else None, confidence)


def _wait(
    line: Timeline, wait_E: Floats, confidence: float, place: str, draws: EventDraws | None
) -> Estimate:
    if not line.events:
        return Estimate(None, reason=f"no attack event{place}")
    found = np.flatnonzero(~np.isnan(wait_E))
    if not len(found):
        return Estimate(None, reason="no event was detected")
    median, bounds = float(np.median(wait_E[found])), median_interval(wait_E[found], confidence)
    if bounds is None:
        # No rule has an interval here: one from the least to the greatest value would hold the median less often.
        return Estimate(median, reason=f"no interval: {len(found)} detected events are too few")
    exact = Estimate(median, *bounds, how="order statistics")
    return _widened(exact, draws.median_wait(wait_E) if draws else None, confidence)


def _widened(exact: Estimate, replicates: Floats | None, confidence: float) -> Estimate:
    """The exact interval, or further out where drawing captures leads there: ``how`` says which."""
    if replicates is None or exact.value is None or exact.low is None or exact.high is None:
        return exact
    low, high, _ = interval(exact.value, replicates, confidence)
    if low is None or high is None or (low >= exact.low and high <= exact.high):
        return exact
    return replace(exact, low=min(low, exact.low), high=max(high, exact.high), how="captures")
