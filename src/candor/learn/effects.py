"""Differences between two ways of doing the same thing, with intervals. NumPy only.

Legend: S seeds, B bootstrap replicates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candor.learn.bootstrap import interval


@dataclass(frozen=True)
class Effect:
    """First less second.

    Attributes:
        value: mean difference. low, high: its interval. size: Cohen's d of the pairs, mean over standard deviation.
        method: how the interval came about. reason: why it, or the value, is missing.
        size_low, size_high: interval of the size (`size_interval`). size_reason: why it, or the size, is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    size: float | None = None
    method: str = ""
    reason: str | None = None
    size_low: float | None = None
    size_high: float | None = None
    size_reason: str | None = None


def over_seeds(first: Sequence[float], second: Sequence[float], confidence: float) -> Effect:
    """Paired by seed, with Student's t interval of the mean difference. Equal lengths, S ≥ 2.

    Differences that are all equal have no spread: their interval is a point, and they have no standardised size.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    n, mean = len(difference), float(difference.mean())
    sd = float(difference.std(ddof=1))
    half = t_quantile(0.5 + confidence / 2, n - 1) * sd / math.sqrt(n)
    method = f"paired t over {n} seeds"
    effect = Effect(mean, mean - half, mean + half, None, method)
    # Differences that are equal but for rounding have no spread: a size of 10^14 would be one of the rounding.
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return replace(effect, size_reason=f"no size: the differences of {n} seeds are all equal")
    size = mean / sd
    low, high = size_interval(size, n, confidence)
    return replace(effect, size=size, size_low=low, size_high=high, size_reason=None)


def size_interval(size: float, pairs: int, confidence: float) -> tuple[float, float]:
    """Interval of Cohen's d of ``pairs`` ≥ 2 pairs: of the noncentral t, turned round (Steiger & Fouladi 1997).

    √n · d is Student's t of the pairs, and follows the noncentral t with n − 1 degrees of freedom and noncentrality √n · δ. The
    bounds are the δ under which a t so large, or so small, comes by chance in (1 − confidence)/2 of all cases. Exact for normal
    differences; over two or three seeds it is as wide as that much evidence is.
    """
    root = math.sqrt(pairs)
    t, tail = root * size, (1 - confidence) / 2
    low, high = (_noncentrality(t, pairs - 1, p) for p in (1 - tail, tail))
    return low / root, high / root


def _noncentrality(t: float, df: int, p: float) -> float:
    """The noncentrality under which a noncentral t is below ``t`` with probability ``p``, by bisection."""
    reach = 10.0 + abs(t) * 8.0
    low, high = -reach, reach
    while high - low > 1e-6 * max(1.0, abs(t)):
        middle = (low + high) / 2
        # The more noncentral, the less often below.
        low, high = (middle, high) if noncentral_t_cdf(t, df, middle) > p else (low, middle)
    return (low + high) / 2


#: Nodes of each piece of the quadrature: 1e-8 right against SciPy's, in 15 ms for an interval.
_NODES: Final = 401


def noncentral_t_cdf(t: float, df: int, noncentrality: float) -> float:
    """Distribution function of the noncentral t: of (Z + noncentrality) / S, Z standard normal, S² chi-square(df) / df.

    It is the mean of Φ(t·S − noncentrality) over S, by Simpson's rule.
    """
    peak, spread = math.sqrt((df - 1) / df), 1 / math.sqrt(2 * df)
    begin, end = max(0.0, peak - 14 * spread), peak + 14 * spread
    cuts = {begin, end}
    if t:
        # Where t is large, Φ rises steeply: nodes of its own for the rise; beside it Φ is 0 or 1 to the last digit.
        rise, width = noncentrality / t, 9 / abs(t)
        cuts |= {min(max(cut, begin), end) for cut in (rise - width, rise + width)}
    total = 0.0
    for a, b in itertools.pairwise(sorted(cuts)):
        s = np.linspace(a, b, _NODES)
        values = _chi_density(s, df) * _normal_cdf(t * s - noncentrality)
        weighted = values[0] + values[-1] + 4 * values[1:-1:2].sum() + 2 * values[2:-1:2].sum()
        total += float(weighted) * (b - a) / (3 * (_NODES - 1))
    return min(max(total, 0.0), 1.0)


def _chi_density(s: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """Density of S = sqrt(chi-square(df) / df) at ``s`` ≥ 0."""
    scale = math.exp(math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2))
    # In this order no factor leaves the range of doubles: s^(df-1) alone would.
    return np.asarray(scale * np.exp(-s * s / 2) * (s * np.exp(-s * s / 2)) ** (df - 1))


def _normal_cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([0.5 * math.erfc(-v / _ROOT_2) for v in z.tolist()])


_ROOT_2: Final = math.sqrt(2)


#: Why there is no Cohen's d without a second seed.
ONE_SEED: Final = "no size: one seed has no spread"
#: By `Resamples.level`.
_DRAWN: Final[Mapping[str, str]] = {
    "captures": "paired bootstrap of captures, then blocks of windows, one seed",
    "blocks": "paired bootstrap of blocks of windows (one capture of a kind), one seed",
}


def over_draws(
    first: float,
    second: float,
    draws: tuple[NDArray[np.float64], NDArray[np.float64]],
    confidence: float,
    *,
    level: str,
) -> Effect:
    """Of one seed: percentile interval over replicates on which both were measured.

    ``draws``: [B] each. ``level``: of the replicates, `Resamples.level`.
    """
    value = first - second
    low, high, reason = interval(value, draws[0] - draws[1], confidence)
    return Effect(value, low, high, None, _DRAWN[level], reason, size_reason=ONE_SEED)


def t_quantile(p: float, df: int) -> float:
    """Quantile of Student's t, for p in (0.5, 1), by bisection of its distribution function."""
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def t_cdf(t: float, df: int) -> float:
    """Distribution function of Student's t for t ≥ 0 and whole degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    theta = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    term, total = 1.0, 0.0
    if df % 2:
        for k in range(1, (df - 1) // 2 + 1):
            term = cosine if k == 1 else term * cosine * cosine * (2 * k - 2) / (2 * k - 1)
            total += term
        inside = 2 / math.pi * (theta + sine * total)
    else:
        for k in range(df // 2):
            term = 1.0 if k == 0 else term * cosine * cosine * (2 * k - 1) / (2 * k)
            total += term
        inside = sine * total
    return 0.5 + inside / 2
