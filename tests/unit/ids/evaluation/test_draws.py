"""Event metrics are drawn by capture first; the exact formulas stay where there is nothing to draw."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from evaluation_data import events, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.config import EvaluationConfig
from candor.ids.evaluation.draws import event_draws
from candor.ids.evaluation.measure import event_metrics
from candor.ids.evaluation.timeline import Timeline, timeline
from candor.learn.bootstrap import poisson, wilson
from candor.learn.metrics import Estimate

CONFIG = EvaluationConfig(bootstrap=400)
EACH, LENGTH = 8, 240  # Events of a capture, and its windows of a second.


def truth(captures: int, each: int = EACH) -> tuple[Timeline, pl.DataFrame]:
    """Captures with ``each`` events of five seconds, 25 s apart."""
    y = np.zeros(LENGTH, int)
    for i in range(each):
        y[25 * i + 10 : 25 * i + 15] = 1
    names = "abcdefgh"[:captures]
    rows = pl.concat([windows(c, y) for c in names])
    spans = [(c, "dos", 25.0 * i + 10, 25.0 * i + 14.5) for c in names for i in range(each)]
    return timeline(rows, events(*spans), alarm_s=10.0), rows


def judged(line: Timeline, score: np.ndarray, *, drawn: bool = True) -> dict[str, Estimate]:
    draws = event_draws(line, CONFIG, "s") if drawn else None
    return event_metrics(line, score, 0.5, confidence=0.95, place="", draws=draws)


def width(e: Estimate) -> float:
    assert e.low is not None
    assert e.high is not None
    assert e.value is not None
    assert e.low <= e.value <= e.high
    return e.high - e.low


def clumped(rows: pl.DataFrame, found_in: str, false_in: str) -> np.ndarray:
    """Every event of some captures is found and none of the others; likewise false alarms."""
    capture, y = rows["capture"].to_numpy(), rows["y"].to_numpy()
    index = rows["window"].to_numpy()
    hit = np.isin(capture, list(found_in)) & (y == 1)
    false = np.isin(capture, list(false_in)) & (y == 0) & (index % 25 == 0)
    return (hit | false).astype(float)


def test_captures_that_differ_widen_every_interval_beyond_the_exact_one() -> None:
    line, rows = truth(4)
    score = clumped(rows, "ab", "ac")
    drawn, exact = judged(line, score), judged(line, score, drawn=False)
    for name, formula in (("event_recall", "Wilson"), ("false_alarms_per_hour", "Poisson")):
        assert (drawn[name].how, exact[name].how) == ("captures", formula)
        assert drawn[name].value == exact[name].value
        assert width(drawn[name]) > 1.3 * width(exact[name])


def test_captures_with_delays_of_their_own_widen_that_of_the_median() -> None:
    line, rows = truth(4)
    slow = np.char.find("abcd", rows["capture"].to_numpy().astype(str))  # a: at once, d: three windows later.
    score = (rows["y"].to_numpy() == 1) & (rows["window"].to_numpy() % 5 >= slow)
    drawn, exact = (judged(line, score.astype(float), drawn=d)["time_to_alarm_s"] for d in (True, False))
    assert (drawn.how, exact.how) == ("captures", "order statistics")
    assert width(drawn) > width(exact)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 4), st.integers(0, 99), st.floats(0, 1))
def test_no_interval_is_narrower_than_the_exact_one(captures: int, seed: int, share: float) -> None:
    line, rows = truth(captures)
    score = (np.random.default_rng(seed).random(len(rows)) < share).astype(float)
    drawn, exact = judged(line, score), judged(line, score, drawn=False)
    for name, e in exact.items():
        assert drawn[name].value == e.value
        if e.low is not None:
            assert drawn[name].low <= e.low  # type: ignore[operator]
            assert drawn[name].high >= e.high  # type: ignore[operator]


def test_one_capture_keeps_the_exact_formulas_and_says_so() -> None:
    line, rows = truth(1)
    score = clumped(rows, "a", "a")
    score[: LENGTH // 2] = 0
    found = judged(line, score)
    assert {k: e.how for k, e in found.items()} == {
        "event_recall": "Wilson",
        "false_alarms_per_hour": "Poisson",
        "time_to_alarm_s": "",  # Three detected events are too few.
    }
    assert (found["event_recall"].low, found["event_recall"].high) == wilson(3, 8, 0.95)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_all_or_none_keeps_the_exact_formulas(level: float) -> None:
    line, rows = truth(3)
    score = np.where(rows["y"].to_numpy() == 1, level, 0.0)
    found = judged(line, score)
    assert found["event_recall"].how == "Wilson"
    assert (found["event_recall"].low, found["event_recall"].high) == wilson(int(level) * 24, 24, 0.95)
    assert found["false_alarms_per_hour"].how == "Poisson"
    assert found["false_alarms_per_hour"].high == pytest.approx(poisson(0, 0.95)[1] / line.hours)


def test_every_event_at_the_same_delay_falls_back_to_order_statistics() -> None:
    line, rows = truth(3)
    assert judged(line, rows["y"].to_numpy().astype(float))["time_to_alarm_s"].how == "order statistics"


def test_events_in_one_capture_of_several_are_not_drawn_but_false_alarms_are() -> None:
    line, rows = truth(1)
    calm = windows("z", np.zeros(LENGTH, int))
    both = pl.concat([rows, calm])
    line = timeline(both, events(*[("a", "dos", e.start_s, e.end_s) for e in line.events]), alarm_s=10.0)
    score = np.r_[clumped(rows, "a", "a"), np.zeros(LENGTH)]
    score[:40] = 0
    found = judged(line, score)
    assert found["event_recall"].how == "Wilson"
    assert found["false_alarms_per_hour"].how == "captures"


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), min_size=16, max_size=16), st.integers(0, 9)
)
def test_the_median_of_a_replicate_is_that_of_its_repeated_events(
    captures: int, each: int, missed: list[bool], seed: int
) -> None:
    line, _ = truth(captures, each)
    wait = np.random.default_rng(seed).uniform(0, 9, len(line.events))
    wait[np.array(missed[: len(wait)])] = np.nan
    draws = event_draws(line, EvaluationConfig(bootstrap=20), "s")
    medians = draws.median_wait(wait) if not np.isnan(wait).all() else None
    if draws.events is None or medians is None:
        return
    for times, median in zip(draws.events.draws[:, draws.events.block_n], medians, strict=True):
        drawn = np.repeat(wait, times)
        drawn = drawn[~np.isnan(drawn)]
        assert np.isnan(median) if not len(drawn) else median == pytest.approx(np.median(drawn))


def test_draws_are_the_same_for_every_detector() -> None:
    line, _ = truth(3)
    first, second = (event_draws(line, CONFIG, "s").events for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.draws == second.draws).all()
