"""Adapted thresholds: what calibration seconds may do to one, and what an attack inside them may not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.adaptation import Unit, floor, unit
from candor.ids.config import CalibrationAdaptation

CONFIG = CalibrationAdaptation()
OPEN = Unit(spread=1.0, ceiling=None)
#: Windows of ten seconds, a twentieth of a second each: ten to a chunk.
T0 = np.arange(200) * 0.05
T1 = T0 + 0.0499

benign_scores = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=200))


@settings(max_examples=100, deadline=None)
@given(benign_scores, st.floats(0, 5), st.floats(0, 5))
def test_higher_scores_and_higher_margins_never_lower_a_floor(
    score: np.ndarray, more: float, margin: float
) -> None:
    low = floor(T0, T1, score, OPEN, CalibrationAdaptation(margin=margin))
    lifted = score + more * np.random.default_rng(0).random(200)
    high = floor(T0, T1, lifted, OPEN, CalibrationAdaptation(margin=margin + more))
    assert low.value is not None
    assert high.value is not None
    assert high.value >= low.value


@settings(max_examples=100, deadline=None)
@given(benign_scores, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_the_unit_of_the_scores_does_not_matter(score: np.ndarray, offset: float, scale: float) -> None:
    one = floor(T0, T1, score, OPEN, CONFIG).value
    other = floor(T0, T1, score * scale + offset, Unit(spread=scale, ceiling=None), CONFIG).value
    assert one is not None
    assert other == pytest.approx(one * scale + offset, rel=1e-6, abs=1e-6 * scale)


@settings(max_examples=100, deadline=None)
@given(benign_scores, st.integers(0, 199), st.integers(1, 80), st.floats(3, 1e6))
def test_an_attack_that_fills_less_than_half_of_the_chunks_moves_the_floor_no_further_than_benign_scores_reach(
    score: np.ndarray, begin: int, length: int, strength: float
) -> None:
    begun = score.copy()
    begun[begin : begin + length] += strength
    found = floor(T0, T1, begun, OPEN, CONFIG).value
    assert found is not None
    assert found <= score.max() + CONFIG.margin * OPEN.spread


def test_seconds_full_of_frames_do_not_count_however_many_they_are() -> None:
    # Flooding for three quarters of the seconds, at twice the bus's own rate.
    t0 = np.concatenate([np.arange(0, 2.5, 0.05), np.arange(2.5, 10, 0.025)])
    t1 = np.append(t0[1:], 10.0) - 1e-4
    score = np.where(t0 < 2.5, 0.0, 50.0)
    found = floor(t0, t1, score, OPEN, CONFIG)
    assert found.value == CONFIG.margin
    assert found.used < 60


def test_where_all_seconds_score_like_a_known_attack_the_detector_goes_on_alarming() -> None:
    y, score = np.r_[np.zeros(50), np.ones(50)], np.r_[np.linspace(0, 1, 50), np.full(50, 20.0)]
    family = np.array([""] * 50 + ["dos"] * 50, object)
    measure = unit(y, score, family, threshold=5.0)
    found = floor(T0, T1, np.full(200, 20.0), measure, CONFIG)
    assert found.value == 20.0
    assert "like attacks" in str(found.reason)


def test_a_detector_that_is_blind_to_the_attacks_of_validation_has_no_ceiling() -> None:
    y, family = np.r_[np.zeros(50), np.ones(50)], np.array([""] * 50 + ["dos"] * 50, object)
    assert unit(y, np.r_[np.linspace(0, 1, 50), np.full(50, 0.4)], family, threshold=1.1).ceiling is None
    assert unit(np.zeros(50), np.linspace(0, 1, 50), family[:50], threshold=1.1).ceiling is None


def test_the_ceiling_is_that_of_the_family_which_is_seen_best() -> None:
    y, family = (
        np.r_[np.zeros(50), np.ones(50)],
        np.array([""] * 50 + ["dos"] * 25 + ["masquerade"] * 25, object),
    )
    score = np.r_[np.linspace(0, 1, 50), np.full(25, 30.0), np.full(25, 0.5)]
    assert unit(y, score, family, threshold=5.0) == Unit(spread=0.5, ceiling=30.0)


def test_a_few_windows_move_nothing() -> None:
    found = floor(T0[:10], T1[:10], np.full(10, 9.0), OPEN, CONFIG)
    assert found.value is None
    assert "10 calibration windows" in str(found.reason)


def test_clocks_that_stand_still_are_no_error() -> None:
    found = floor(np.zeros(200), np.zeros(200), np.ones(200), OPEN, CONFIG)
    assert found.value == 1.0 + CONFIG.margin
