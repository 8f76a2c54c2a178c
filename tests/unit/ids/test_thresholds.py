"""Thresholds by brute force, and the cases without a good answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import DataError
from candor.ids.config import EvaluationConfig
from candor.ids.thresholds import choose, max_f1, max_fpr

F1 = EvaluationConfig()


def f1(y: np.ndarray, score: np.ndarray, threshold: float) -> float:
    flagged = score >= threshold
    return float(2 * np.sum(flagged & y) / (flagged.sum() + y.sum()))


samples = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40)


@settings(max_examples=200, deadline=None)
@given(samples)
def test_no_threshold_has_a_better_validation_f1(rows: list[tuple[bool, int]]) -> None:
    y, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], float)
    value, reason = max_f1(y, score)
    every = [f1(y, score, t) for t in np.arange(-4, 6) - 0.5] if y.any() else []
    if value is not None:
        assert f1(y, score, value) == max(every)
    else:
        assert reason
        assert not every or len(set(score)) == 1 or max(every) == f1(y, score, -9)


@settings(max_examples=200, deadline=None)
@given(samples, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_max_fpr_is_the_lowest_threshold_within_the_rate(rows: list[tuple[bool, int]], fpr: float) -> None:
    y, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], float)
    if y.all():
        return
    value = max_fpr(y, score, fpr)
    assert np.mean(score[~y] >= value) <= fpr
    lower = np.nextafter(value, -np.inf)
    assert np.mean(score[~y] >= lower) > fpr or value == score.min()


def test_separable_scores_are_cut_in_the_middle_of_the_gap() -> None:
    assert choose([0, 0, 1, 1], [0.0, 1.0, 3.0, 9.0], F1).value == 2.0


def test_of_equally_good_intervals_the_widest_is_taken() -> None:
    # One of two attacks below most of the benign scores; F1 is 2/3 in (1, 5] and nowhere better.
    chosen = choose([1, 0, 0, 0, 1], [0.0, 0.5, 0.7, 1.0, 5.0], F1)
    assert chosen.value == 3.0


def test_neighbouring_floats_still_separate() -> None:
    low, high = 1.0, float(np.nextafter(1.0, 2.0))
    chosen = choose([0, 0, 1], [low, low, high], F1)
    assert (chosen.f1, chosen.fpr) == (1.0, 0.0)


def test_constant_scores_flag_nothing_and_say_so() -> None:
    chosen = choose([0, 0, 1], [0.0, 0.0, 0.0], F1)
    assert chosen.value > 0.0
    assert chosen.fpr == 0.0
    assert chosen.reason == "all validation scores are equal"


def test_scores_that_rank_the_wrong_way_fall_back_and_say_so() -> None:
    chosen = choose([1, 1, 1, 0], [0.0, 0.1, 0.2, 0.9], F1)
    assert chosen.rule == "max_fpr"
    assert chosen.reason is not None
    assert "flagging every window" in chosen.reason


def test_validation_without_attacks_falls_back_and_says_so() -> None:
    chosen = choose([0, 0, 0], [0.0, 1.0, 2.0], F1)
    assert (chosen.rule, chosen.f1, chosen.reason) == ("max_fpr", None, "validation holds no attack windows")
    assert chosen.value > 2.0


def test_asking_for_max_fpr_gives_no_reason() -> None:
    config = EvaluationConfig(threshold="max_fpr", fpr=0.25)
    chosen = choose([0, 0, 0, 0, 1], [1.0, 2.0, 3.0, 4.0, 0.0], config)
    assert (chosen.fpr, chosen.reason) == (0.25, None)


@pytest.mark.parametrize("y", [[], [1, 1]])
def test_without_benign_validation_there_is_no_threshold(y: list[int]) -> None:
    with pytest.raises(DataError, match="so no threshold"):
        choose(y, [0.5] * len(y), F1, place="detector gat")
