"""Differences between two ways of doing the same thing, with intervals. NumPy only.

Legend: S seeds, B bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    size: float | None = None
    method: str = ""
    reason: str | None = None


def over_seeds(first: Sequence[float], second: Sequence[float], confidence: float) -> Effect:
    """Paired by seed, with Student's t interval of the mean difference. Equal lengths, S ≥ 2.

    Differences that are all equal have no spread: their interval is a point, and they have no standardised size.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    n, mean = len(difference), float(difference.mean())
    sd = float(difference.std(ddof=1))
    half = t_quantile(0.5 + confidence / 2, n - 1) * sd / math.sqrt(n)
    method = f"paired t over {n} seeds"
    return Effect(mean, mean - half, mean + half, mean / sd if sd > 0 else None, method)


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
    return Effect(value, low, high, None, _DRAWN[level], reason)


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
