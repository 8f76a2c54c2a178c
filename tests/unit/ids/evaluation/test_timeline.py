"""Events and false alarms agree with a plain loop over windows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from evaluation_data import events, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.evaluation.timeline import (
    Timeline,
    false_alarm_curve,
    false_alarms,
    operating_curve,
    peaks,
    rate_threshold,
    timeline,
    times_to_alarm,
)


@st.composite
def traffic(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """One or two captures of windows that may overlap or be cut, events, and scores with ties."""
    parts = []
    for capture in draw(st.sampled_from([["a"], ["a", "b"]])):
        n = draw(st.integers(1, 25))
        df = windows(capture, draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), seconds=0.5)
        keep = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        keep[0] = True
        parts.append(df.filter(pl.Series(keep)))
    rows = pl.concat(parts)
    found = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, 48)) / 4
        found.append((draw(st.sampled_from("ab")), "dos", start, start + draw(st.integers(0, 12)) / 4))
    score = draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows)))
    return rows, events(*found), np.array(score, float)


def overlaps(w: dict[str, float], e: dict[str, float]) -> bool:
    return w["capture"] == e["capture"] and w["t0"] <= e["t_end"] and w["t1"] >= e["t_start"]


@settings(max_examples=150, deadline=None)
@given(traffic(), st.integers(0, 5))
def test_events_and_alarms_equal_a_plain_loop(
    case: tuple[pl.DataFrame, pl.DataFrame, np.ndarray], threshold: float
) -> None:
    rows, happened, score = case
    line = timeline(rows, happened, alarm_s=3.0)
    ws, es = rows.to_dicts(), [e for e in happened.to_dicts() if e["capture"] in set(rows["capture"])]
    alarms, before = 0, None
    for w, s in zip(ws, score, strict=True):
        flagged = s >= threshold and w["y"] == 0 and not any(overlaps(w, e) for e in es)
        slot = (w["capture"], w["t0"] // 3.0)
        here = (*slot, w["window"])
        if flagged and before != (*slot, w["window"] - 1):
            alarms += 1
        before = here if flagged else None
    assert false_alarms(line, score, threshold) == alarms
    detected = [any(overlaps(w, e) and s >= threshold for w, s in zip(ws, score, strict=True)) for e in es]
    assert (peaks(line, score) >= threshold).tolist() == detected
    first = [
        min(w["t1"] for w, s in zip(ws, score, strict=True) if overlaps(w, e) and s >= threshold)
        - e["t_start"]
        for e, hit in zip(es, detected, strict=True)
        if hit
    ]
    assert times_to_alarm(line, score, threshold) == pytest.approx(first)


@settings(max_examples=100, deadline=None)
@given(traffic())
def test_the_curve_counts_what_each_threshold_would(
    case: tuple[pl.DataFrame, pl.DataFrame, np.ndarray],
) -> None:
    rows, happened, score = case
    line = timeline(rows, happened, alarm_s=3.0)
    thresholds, counts = false_alarm_curve(line, score)
    assert counts.tolist() == [false_alarms(line, score, t) for t in thresholds]


@settings(max_examples=100, deadline=None)
@given(traffic(), st.sampled_from([1.0, 200.0, 1000.0, 1e6]))
def test_above_a_rate_threshold_false_alarms_stay_within_the_rate(
    case: tuple[pl.DataFrame, pl.DataFrame, np.ndarray], per_hour: float
) -> None:
    rows, happened, score = case
    line = timeline(rows, happened, alarm_s=3.0)
    threshold = rate_threshold(line, score, per_hour)
    if threshold is None:
        assert not line.benign_n.any()
        return
    for t in [threshold, *[s for s in score if s >= threshold]]:
        assert false_alarms(line, score, t) <= per_hour * line.hours + 1e-6
    lower = score[line.benign_n & (score < threshold)]
    if len(lower):  # The next lower threshold would break the promise.
        assert false_alarms(line, score, lower.max()) > per_hour * line.hours - 1


def line_of(n: int, *happened: tuple[str, str, float, float], calibration: int = 0) -> Timeline:
    y = [int(any(e[2] <= i + 1 and e[3] >= i for e in happened)) for i in range(n)]
    return timeline(windows("c", y, calibration=calibration), events(*happened), alarm_s=10.0)


def test_consecutive_flagged_windows_are_one_false_alarm() -> None:
    score = np.zeros(40)
    score[[2, 3, 4, 7]] = 1
    assert false_alarms(line_of(40), score, 0.5) == 2


def test_a_detector_that_never_falls_silent_keeps_alarming() -> None:
    assert false_alarms(line_of(100), np.ones(100), 0.5) == 10  # Once every alarm_s = 10 s.


def test_alarms_during_an_event_are_not_false() -> None:
    score = np.zeros(40)
    score[18:25] = 1
    assert false_alarms(line_of(40, ("c", "dos", 18.5, 24.5)), score, 0.5) == 0


def test_an_alarm_waits_for_the_end_of_calibration() -> None:
    line = line_of(40, ("c", "dos", 3.5, 9.5), calibration=12)
    score = np.zeros(40)
    score[4] = 1
    assert times_to_alarm(line, score, 0.5) == pytest.approx([12 - 1e-3 - 3.5])


def test_time_to_alarm_runs_from_the_event_start_to_the_end_of_the_first_flagged_window() -> None:
    line = line_of(40, ("c", "dos", 20.5, 30.0))
    score = np.zeros(40)
    score[[22, 23]] = 1
    assert times_to_alarm(line, score, 0.5) == pytest.approx([23 - 1e-3 - 20.5])


def test_hours_are_benign_time_and_overlapping_windows_count_once() -> None:
    overlapping = windows("c", [0] * 100).with_columns((pl.col("t0") + 5).alias("t1"))
    assert timeline(overlapping, events(), alarm_s=10).hours * 3600 == pytest.approx(104)
    assert line_of(40, ("c", "dos", 10.5, 19.5)).hours * 3600 == pytest.approx(30, abs=0.1)


def test_an_event_no_window_overlaps_is_missed() -> None:
    line = line_of(5, ("c", "dos", 100.0, 101.0))
    assert peaks(line, np.ones(5)).tolist() == [-np.inf]
    assert len(times_to_alarm(line, np.ones(5), 0.5)) == 0


def test_a_clock_that_steps_back_adds_no_negative_time() -> None:
    back = windows("c", [0] * 4).with_columns(
        pl.Series("t0", [0.0, 1.0, 0.5, 1.5]), pl.Series("t1", [1.0, 2.0, 1.5, 2.5])
    )
    assert timeline(back, events(), alarm_s=10).hours * 3600 == pytest.approx(1.0 + 0.0 + 1.0 + 1.0)


def test_the_operating_curve_is_monotone_and_starts_without_false_alarms() -> None:
    rng = np.random.default_rng(0)
    line = line_of(300, ("c", "dos", 50.0, 60.0), ("c", "dos", 150.0, 160.0))
    curve = operating_curve(line, rng.random(300))
    assert curve["false_alarms_per_hour"][0] == 0
    assert curve["threshold"].is_sorted(descending=True)
    assert curve["event_recall"].is_sorted()
