"""The bootstrap keeps classes, respects dependence, and covers what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.learn.bootstrap import interval, median_interval, poisson, resample, wilson
from candor.learn.metrics import binary_metrics


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=80),
    st.integers(1, 8),
)
def test_blocks_hold_one_class_of_one_capture_in_order(rows: list[tuple[bool, int]], length: int) -> None:
    y, capture = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    draws = resample(y, capture, replicates=3, block_windows=length, rng=rng())
    position = np.empty(len(y), int)  # Rank of a window among those of its class and capture.
    seen: dict[tuple[bool, int], int] = {}
    for i, key in enumerate(rows):
        position[i] = seen[key] = seen.get(key, -1) + 1
    for block in range(draws.draws.shape[1]):
        members = np.flatnonzero(draws.block_n == block)
        assert 1 <= len(members) <= length
        assert len({rows[i] for i in members}) == 1
        assert (np.diff(position[members]) == 1).all()


def test_each_replicate_draws_as_many_blocks_of_each_class_as_there_are() -> None:
    y = np.repeat([0, 1], [300, 100])
    draws = resample(y, y * 0, replicates=20, block_windows=10, rng=rng())
    assert draws.blocks == (10, 30)
    assert (draws.draws[:, :10].sum(axis=1) == 10).all()
    assert (draws.draws[:, 10:].sum(axis=1) == 30).all()


def test_captures_are_drawn_whole_and_blocks_within_each() -> None:
    y, capture = np.tile(np.repeat([0, 1], [40, 20]), 5), np.repeat(np.arange(5), 60)
    draws = resample(y, capture, replicates=300, block_windows=4, rng=rng())
    assert (draws.level, draws.captures) == ("captures", 5)
    owner = np.empty(draws.draws.shape[1], int)
    owner[draws.block_n] = capture
    is_attack = np.arange(len(owner)) < draws.blocks[0]
    for kind, each in ((is_attack, 5), (~is_attack, 10)):
        of = np.stack([draws.draws[:, kind & (owner == c)].sum(axis=1) for c in range(5)], axis=1)
        assert (of % each == 0).all()  # A capture is in a replicate a whole number of times ...
        assert (of.sum(axis=1) == 5 * each).all()
        assert {0, 1, 2} <= set((of // each).ravel().tolist())
    times = draws.draws[:, is_attack & (owner == 0)].sum(axis=1)
    assert (
        times == draws.draws[:, ~is_attack & (owner == 0)].sum(axis=1) // 2
    ).all()  # ... with both its classes ...
    assert draws.draws[times == 5].std() > 0  # ... and its blocks are drawn anew.


def test_one_capture_of_a_kind_is_always_in_and_said_so() -> None:
    y, capture = np.repeat([0, 1, 0], [50, 50, 80]), np.repeat([0, 1], [100, 80])
    draws = resample(y, capture, replicates=100, block_windows=5, rng=rng())
    assert (draws.level, draws.captures) == ("blocks", 0)
    for value in (y == 1, y == 0):
        assert set(draws.totals(value)) == {value.sum()}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=60), st.integers(1, 6))
def test_no_replicate_lacks_a_class(rows: list[tuple[bool, int]], length: int) -> None:
    y, capture = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    draws = resample(y, capture, replicates=30, block_windows=length, rng=rng())
    for value in (y, ~y):
        assert (draws.totals(value) > 0).all() == value.any()


def test_captures_cover_what_differs_between_them_where_blocks_do_not() -> None:
    """Each of 12 captures has a recall of its own, one half on the mean."""
    covered = {"captures": 0, "blocks": 0}
    for trial in range(120):
        source = rng(trial)
        recall_c = source.beta(1.5, 1.5, 12)
        capture = np.repeat(np.arange(12), 100)
        y = np.tile(np.repeat([1, 0], [80, 20]), 12)
        flagged = (source.random(1200) < recall_c[capture]) & (y == 1)
        for level, told in (("captures", capture), ("blocks", capture * 0)):
            draws = resample(y, told, replicates=150, block_windows=10, rng=rng(trial))
            recall = binary_metrics(y, flagged.astype(float), flagged, resamples=draws)["recall"]
            assert recall.how == draws.level == level
            assert recall.low is not None
            assert recall.high is not None
            covered[level] += recall.low <= 0.5 <= recall.high
    assert covered["captures"] / 120 > 0.85
    assert covered["blocks"] / 120 < 0.6


def test_totals_equal_the_sum_over_drawn_windows() -> None:
    y, value = rng(1).integers(0, 2, 97), rng(2).normal(size=97)
    draws = resample(y, np.arange(97) // 40, replicates=7, block_windows=4, rng=rng())
    weights = np.concatenate(list(draws.weights()))
    np.testing.assert_allclose(draws.totals(value), weights @ value)


def test_short_classes_still_vary() -> None:
    y = np.repeat([0, 1], [1000, 12])
    draws = resample(y, y * 0, replicates=50, block_windows=20, rng=rng())
    assert draws.blocks[0] >= 10
    assert draws.draws[:, : draws.blocks[0]].std() > 0


def test_equal_generators_give_equal_draws() -> None:
    y = rng(3).integers(0, 2, 50)
    a, b = (resample(y, y * 0, replicates=5, block_windows=2, rng=rng(9)) for _ in range(2))
    assert (a.draws == b.draws).all()


def test_intervals_cover_the_true_recall_about_as_often_as_promised() -> None:
    covered = 0
    for trial in range(200):
        source = rng(trial)
        y = np.repeat([0, 1], [50, 120])
        flagged = source.random(170) < 0.7
        draws = resample(y, y * 0, replicates=150, block_windows=1, rng=source)
        recall = binary_metrics(y, flagged.astype(float), flagged, resamples=draws, confidence=0.9)["recall"]
        assert recall.low is not None
        assert recall.high is not None
        covered += recall.low <= 0.7 <= recall.high
    assert 0.82 <= covered / 200 <= 0.97  # 0.9, four standard errors of 200 trials.


def test_blocks_cover_dependent_windows_where_single_windows_do_not() -> None:
    """Hits come in runs of 10 equal windows; the true recall is one half."""
    covered = {1: 0, 10: 0}
    for trial in range(120):
        hit = np.repeat(rng(trial).random(60) < 0.5, 10)
        y = np.concatenate([np.ones(600, int), np.zeros(20, int)])
        flagged = np.concatenate([hit, np.zeros(20, bool)])
        for block in covered:
            draws = resample(y, y * 0, replicates=150, block_windows=block, rng=rng(trial))
            recall = binary_metrics(y, flagged.astype(float), flagged, resamples=draws)["recall"]
            assert recall.low is not None
            assert recall.high is not None
            covered[block] += recall.low <= 0.5 <= recall.high
    assert covered[10] / 120 > 0.88
    assert covered[1] / 120 < 0.7


def test_mostly_undefined_replicates_give_no_interval_but_a_reason() -> None:
    low, high, reason = interval(0.5, np.array([0.5] * 8 + [np.nan] * 2), 0.95)
    assert low is None
    assert high is None
    assert reason is not None
    assert "2 of 10" in reason


def test_closed_form_intervals_match_published_values() -> None:
    assert wilson(0, 10, 0.95) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert wilson(10, 10, 0.95)[1] == 1.0
    assert poisson(0, 0.95)[0] == 0.0
    assert poisson(10, 0.95) == pytest.approx((4.795, 18.39), rel=0.01)  # Exact Garwood limits.


def test_the_median_interval_is_the_binomial_one() -> None:
    assert median_interval(np.arange(1, 11), 0.95) == (2.0, 9.0)  # Textbook: ranks 2 and 9 of 10.
    assert median_interval([1.0, 2.0, 3.0], 0.95) is None
    wide = median_interval(np.arange(5000), 0.95)
    assert wide is not None
    assert wide[0] == pytest.approx(2430, abs=3)
