from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from candor.learn.effects import noncentral_t_cdf, over_draws, over_seeds, size_interval, t_cdf, t_quantile


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
    assert got.size_reason == "no size: the differences of 2 seeds are all equal"
    # 0.3 - 0.2 and 0.2 - 0.1 differ by rounding alone.
    assert over_seeds([0.3, 0.2], [0.2, 0.1], 0.95).size is None


@pytest.mark.parametrize("df", [1, 2, 3, 8, 29])
@pytest.mark.parametrize("t", [-3.0, 0.0, 0.01, 0.7, 4.0, 300.0])
def test_the_noncentral_t_is_that_of_scipy(df: int, t: float) -> None:
    for noncentrality in (-4.0, -0.5, 0.5, 2.0, 9.0):
        want = stats.nct.cdf(t, df, noncentrality)
        if np.isnan(want):  # SciPy gives up far out in the tail.
            want = 0.0
        assert noncentral_t_cdf(t, df, noncentrality) == pytest.approx(want, abs=1e-7)


@pytest.mark.parametrize(("size", "pairs"), [(1.2, 3), (-0.4, 5), (0.0, 10), (60.0, 3), (2.0, 2)])
def test_the_interval_of_a_size_is_where_it_would_be_a_rare_result(size: float, pairs: int) -> None:
    low, high = size_interval(size, pairs, 0.95)
    assert low < size < high
    t, root = size * pairs**0.5, pairs**0.5
    assert stats.nct.sf(t, pairs - 1, low * root) == pytest.approx(0.025, abs=1e-4)
    assert stats.nct.cdf(t, pairs - 1, high * root) == pytest.approx(0.025, abs=1e-4)


def test_the_interval_of_a_size_excludes_zero_where_that_of_the_difference_does() -> None:
    for first in ([0.91, 0.95, 0.90], [0.93, 0.935, 0.94], [0.99, 0.9, 0.8]):
        got = over_seeds(first, [0.9, 0.9, 0.9], 0.95)
        assert got.low is not None
        assert got.size_low is not None
        assert (got.low > 0) == (got.size_low > 0)


def test_one_seed_has_no_size_and_says_why() -> None:
    got = over_draws(0.8, 0.7, (np.full(9, 0.8), np.full(9, 0.7)), 0.95, level="captures")
    assert (got.size, got.size_reason) == (None, "no size: one seed has no spread")


def test_one_seed_is_judged_by_replicates_that_both_share() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0.8, 0.1, 400)
    got = over_draws(0.81, 0.80, (common + 0.01, common), 0.95, level="blocks")
    assert (got.low, got.high) == (pytest.approx(0.01), pytest.approx(0.01))
