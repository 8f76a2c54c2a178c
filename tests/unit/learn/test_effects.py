from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from candor.learn.effects import over_draws, over_seeds, t_cdf, t_quantile


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 30])
def test_students_t_is_that_of_scipy(df: int) -> None:
    for p in (0.6, 0.9, 0.975, 0.995):
        assert t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), abs=1e-9)
    assert t_cdf(1.3, df) == pytest.approx(stats.t.cdf(1.3, df), abs=1e-12)


def test_the_interval_over_seeds_is_that_of_a_paired_t_test() -> None:
    first, second = [0.91, 0.95, 0.90, 0.97], [0.90, 0.90, 0.91, 0.92]
    got = over_seeds(first, second, 0.95)
    want = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (got.low, got.high) == (pytest.approx(want.low), pytest.approx(want.high))
    difference = np.subtract(first, second)
    assert got.size == pytest.approx(difference.mean() / difference.std(ddof=1))


def test_equal_differences_have_no_standardised_size() -> None:
    got = over_seeds([1.0, 2.0], [0.5, 1.5], 0.95)
    assert (got.value, got.low, got.high, got.size) == (0.5, 0.5, 0.5, None)


def test_one_seed_is_judged_by_replicates_that_both_share() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0.8, 0.1, 400)
    got = over_draws(0.81, 0.80, (common + 0.01, common), 0.95, level="blocks")
    assert (got.low, got.high) == (pytest.approx(0.01), pytest.approx(0.01))
