"""The compiled pass that measures frames for a profile. Called through ``tally``.

What it needs of other files is handed in: Numba's cache notices a change of this file only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

# n frames of a part, U distinct IDs of it, P IDs so far, B=8 payload bytes

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)


class Sums(NamedTuple):
    """What is added up of each ID (P each, or [P, B])."""

    count: Any
    timed: Any
    longest: Any
    compared: Any
    flips: Any
    low: Any
    high: Any
    dlc_mask: Any


class Part(NamedTuple):
    """Columns of a Stream (n each), and the row of each of its IDs (U)."""

    row: Any
    code: Any
    word: Any
    dlc: Any
    flags: Any
    dt: Any
    change: Any


class Constants(NamedTuple):
    """See stream.py."""

    remote: int
    dlc_code: Any
    min_time: float


class Intervals(NamedTuple):
    """Rows of frames with a predecessor, and the times since, at least ``min_time`` (n each, of which the first are used)."""

    code: Any
    value: Any


@_jit
def measure(s, c, sums, out):  # type: ignore[no-untyped-def]
    """Add the frames of a part to the sums, in their order; returns how many intervals were written to ``out``."""
    kept = 0
    for i in range(len(s.code)):
        p, dt = s.row[s.code[i]], s.dt[i]
        sums.count[p] += 1
        sums.dlc_mask[p] |= np.uint32(1) << c.dlc_code[min(s.dlc[i], 64)]
        if not np.isnan(dt):
            sums.timed[p] += 1
            sums.longest[p] = max(sums.longest[p], dt)
            out.code[kept], out.value[kept] = p, max(dt, c.min_time)
            kept += 1
        if not np.isnan(s.change[i]):
            sums.compared[p] += 1
            sums.flips[p] += np.float64(s.change[i])
        size = np.int64(0) if s.flags[i] & c.remote else np.int64(min(s.dlc[i], 8))
        for b in range(size):
            byte = np.uint8((s.word[i] >> np.uint64(8 * b)) & np.uint64(0xFF))
            sums.low[p, b] = min(sums.low[p, b], byte)
            sums.high[p, b] = max(sums.high[p, b], byte)
    return kept
