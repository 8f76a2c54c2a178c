"""Two-level bootstrap of windows (captures, then blocks within them, by class), and closed-form intervals of rates. NumPy only.

Windows of one capture are alike, and neighbouring ones are nearly the same: drawn one by one they give intervals that are
too narrow. A replicate draws captures with replacement, as many of each kind (with attack windows, with benign ones, with
both) as there are; then, within every drawn capture and for each class, runs of ``block_windows`` windows in the order of
the capture (Künsch 1989), as many as it has. A replicate thus never lacks a class. A capture that is the only one of its
kind is always in, and varies by its blocks alone.

Few captures say little of further ones: of two, half of all replicates hold one of them twice, and the interval is narrower
than the truth. What the captures have in common (one vehicle, one logger) no interval knows.

Legend: n windows, C captures, B replicates, K blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Replicates whose weights are unfolded at a time hold about this many numbers: 32 MB of int64 sums.
_CHUNK = 4_000_000
#: A class is cut into no fewer blocks than this where it has the windows: one block would never vary.
_MIN_BLOCKS = 10


@dataclass(frozen=True)
class Resamples:
    """Replicates of n windows, as draws of their blocks.

    Attributes:
        block_n: block of each window, [n].
        draws: how often each block was drawn, [B, K].
        blocks: number of (attack, benign) blocks.
        captures: captures that were drawn among others of their kind; 0 where every one is the only one of its kind.
    """

    block_n: NDArray[np.int64]
    draws: NDArray[np.int32]
    blocks: tuple[int, int]
    captures: int = 0

    @property
    def level(self) -> Literal["captures", "blocks"]:
        """What was drawn first: whole captures, or only blocks within them."""
        return "captures" if self.captures else "blocks"

    def totals(self, value: ArrayLike) -> NDArray[np.float64]:
        """Sum of ``value`` [n] over each replicate: [B]. Costs B·K, whatever n is."""
        per_block = np.bincount(
            self.block_n, weights=np.asarray(value, np.float64), minlength=self.draws.shape[1]
        )
        return np.asarray(self.draws @ per_block, np.float64)

    def weights(self) -> Iterator[NDArray[np.int32]]:
        """How often each window was drawn, [b, n], in chunks of replicates that fit in memory."""
        step = max(1, _CHUNK // max(1, len(self.block_n)))
        for start in range(0, len(self.draws), step):
            yield self.draws[start : start + step][:, self.block_n]


def resample(
    y: ArrayLike,
    capture: ArrayLike,
    *,
    replicates: int,
    block_windows: int,
    rng: np.random.Generator,
) -> Resamples:
    """Draw replicates of n windows.

    Args:
        y: [n], 0 or 1. capture: [n], any labels; windows lie in stream order within each capture.
        replicates: B. block_windows: 1 draws single windows within a capture. Shortened where a class has too few
            windows for ten blocks.
        rng: source of randomness; equal generators give equal draws, so detectors are compared on the same replicates.
    """
    truth = np.asarray(y, bool)
    names, capture_n = np.unique(np.asarray(capture), return_inverse=True)
    kind_C = np.bincount(capture_n[truth], minlength=len(names)).astype(bool) * 2
    kind_C += np.bincount(capture_n[~truth], minlength=len(names)).astype(bool)
    drawn_BC, drawn_among = _captures(kind_C, replicates, rng)
    block_n = np.zeros(len(truth), np.int64)
    counts: list[NDArray[np.int32]] = []
    first, blocks = 0, []
    for positive in (True, False):
        chosen = np.flatnonzero(truth == positive)
        length = max(1, min(block_windows, len(chosen) // _MIN_BLOCKS))
        labels, owner_K = _blocks(capture_n[chosen], length)
        block_n[chosen] = labels + first
        counts.append(_within(owner_K, drawn_BC, rng))
        blocks.append(len(owner_K))
        first += len(owner_K)
    return Resamples(block_n, np.concatenate(counts, axis=1), (blocks[0], blocks[1]), drawn_among)


def _captures(
    kind_C: NDArray[np.int64], replicates: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """How often each capture is in each replicate, [B, C], and how many captures were drawn at all."""
    drawn_BC = np.ones((replicates, len(kind_C)), np.int64)
    among = 0
    for kind in np.unique(kind_C):
        alike = np.flatnonzero(kind_C == kind)
        if len(alike) > 1:
            drawn_BC[:, alike] = _draw(np.full(replicates, len(alike)), len(alike), rng)
            among += len(alike)
    return drawn_BC, among


def _blocks(capture_m: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the runs of ``length`` windows within each capture, 0 … K-1: [m], captures may interleave.

    Also the capture of each run, [K]; the runs of a capture follow each other.
    """
    order = np.argsort(capture_m, kind="stable")
    ordered = capture_m[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
    begins = rank % length == 0
    labels = np.empty(len(ordered), np.int64)
    labels[order] = np.cumsum(begins) - 1
    return labels, ordered[begins]


def _within(
    owner_K: NDArray[np.int64], drawn_BC: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw blocks of one class, with replacement, within every capture that a replicate holds: counts [B, K].

    A capture of m such blocks that is in a replicate twice gives it 2·m draws. One pass per capture, none per replicate.
    """
    counts_BK = np.zeros((len(drawn_BC), len(owner_K)), np.int32)
    for capture, begin, number in zip(
        *np.unique(owner_K, return_index=True, return_counts=True), strict=True
    ):
        counts_BK[:, begin : begin + number] = _draw(drawn_BC[:, capture] * number, int(number), rng)
    return counts_BK


def _draw(times_B: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw ``times_B`` times out of ``number`` with replacement: counts [B, number]."""
    replicate = np.repeat(np.arange(len(times_B)) * number, times_B)
    flat = np.bincount(replicate + rng.integers(0, number, len(replicate)), minlength=len(times_B) * number)
    return flat.reshape(len(times_B), number).astype(np.int32)


def interval(
    value: float, draws: NDArray[Any], confidence: float
) -> tuple[float | None, float | None, str | None]:
    """Percentile interval (low, high, reason); no interval where a tenth of the replicates is undefined."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < 0.9 * len(draws):
        return None, None, f"no interval: undefined in {len(draws) - len(finite)} of {len(draws)} resamples"
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    # A skewed statistic can leave its own percentile interval; the interval must hold the value it is printed beside.
    return min(float(low), value), max(float(high), value), None


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Interval of a proportion of independent trials (Wilson 1927). ``trials`` > 0."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, zz = successes / trials, z * z / trials
    centre = (p + zz / 2) / (1 + zz)
    half = z / (1 + zz) * float(np.sqrt(p * (1 - p) / trials + zz / (4 * trials)))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)


def poisson(count: int, confidence: float) -> tuple[float, float]:
    """Interval of a Poisson mean after ``count`` events (Byar's approximation of the exact one, Breslow & Day 1987)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    up = count + 1
    high = up * (1 - 1 / (9 * up) + z / (3 * up**0.5)) ** 3
    low = count * (1 - 1 / (9 * count) - z / (3 * count**0.5)) ** 3 if count else 0.0
    return max(0.0, low), high


def median_interval(sample: ArrayLike, confidence: float) -> tuple[float, float] | None:
    """Distribution-free interval of a median from order statistics; None where the sample is too small for one."""
    x = np.sort(np.asarray(sample, np.float64))
    n, tail = len(x), (1 - confidence) / 2
    below, chance = 0.0, 0.5**n if n < 1000 else 0.0
    if n >= 1000:
        half = NormalDist().inv_cdf(1 - tail) * n**0.5 / 2
        rank = int(np.floor(n / 2 - half))
        return float(x[max(0, rank - 1)]), float(x[min(n - 1, n - rank)])
    rank = 0
    while below + chance <= tail:
        below += chance
        chance *= (n - rank) / (rank + 1)
        rank += 1
    return (float(x[rank - 1]), float(x[n - rank])) if rank else None
