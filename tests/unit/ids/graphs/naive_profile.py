"""A profile as one would write it down: all frames in memory, intervals sorted. Checks tally.py and medians.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.stream import MIN_TIME_S, Stream


def naive_profile(
    pieces: Iterable[Stream], *, kind: Any, vehicle: str, source: Sequence[str], set_aside_s: float = 0.0
) -> Profile:
    """Profile of all frames of some pieces at once."""
    parts = list(pieces)
    seconds = float(sum(max(p.t_n[-1] - p.t_n[0], 0.0) for p in parts if len(p)))
    frames = sum(len(p) for p in parts)
    key = np.concatenate([p.key_U[p.code_n] for p in parts] or [np.zeros(0, np.uint32)])
    key_P, code, count = np.unique(key, return_inverse=True, return_counts=True)
    dt = np.concatenate([p.dt_n for p in parts] or [np.zeros(0)])
    change = np.concatenate([p.change_n for p in parts] or [np.zeros(0, np.float32)])
    median, spread = interval_statistics(dt, code, len(key_P), fallback_s=seconds if seconds > 0 else 1.0)
    longest = longest_interval(dt, code, len(key_P), fallback_s=seconds if seconds > 0 else 1.0)
    low, high = byte_range(parts, code, len(key_P))
    mask = np.zeros(len(key_P), np.uint32)
    if parts:
        np.bitwise_or.at(mask, code, np.uint32(1) << np.concatenate([dlc_code(p.dlc_n) for p in parts]))
    compared = ~np.isnan(change)
    number = np.bincount(code[compared], minlength=len(key_P))
    flips = np.bincount(code[compared], weights=change[compared], minlength=len(key_P))
    return Profile(
        key_P=key_P,
        count_P=count.astype(np.int64),
        median_interval_s_P=median,
        log_spread_P=spread,
        longest_interval_s_P=longest,
        bit_change_P=flips / np.maximum(number, 1),
        byte_min_PB=low,
        byte_max_PB=high,
        dlc_mask_P=mask,
        frames_per_s=frames / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        frames=frames,
        kind=kind,
        vehicle=vehicle,
        source=tuple(source),
        set_aside_s=set_aside_s,
    )


def interval_statistics(
    dt_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_ids: int, *, fallback_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Median interval, and 1.4826 × MAD of ln(interval), per ID. IDs without an interval get ``fallback_s`` and 0."""
    has = ~np.isnan(dt_n)
    code, dt = code_n[has], np.maximum(dt_n[has], MIN_TIME_S)
    median = naive_medians(dt, code, num_ids, empty=fallback_s)
    deviation = np.abs(np.log(dt) - np.log(median)[code])
    spread = 1.4826 * naive_medians(deviation, code, num_ids, empty=0.0)
    return median, np.where(np.bincount(code, minlength=num_ids) >= 2, spread, 0.0)


def longest_interval(
    dt_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_ids: int, *, fallback_s: float
) -> npt.NDArray[np.float64]:
    """Longest interval of each ID; ``fallback_s`` for IDs without one."""
    has = ~np.isnan(dt_n)
    longest = np.zeros(num_ids)
    np.maximum.at(longest, code_n[has], dt_n[has])
    return np.where(longest > 0, longest, fallback_s)


def naive_medians(
    value_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_groups: int, *, empty: float
) -> npt.NDArray[np.float64]:
    """Median of the values of each group 0..num_groups−1; ``empty`` for a group without values."""
    value = value_n[np.lexsort((value_n, code_n))]
    count = np.bincount(code_n, minlength=num_groups)
    begin = np.cumsum(count) - count
    result = np.full(num_groups, empty)
    has = count > 0
    begin, count = begin[has], count[has]
    result[has] = 0.5 * (value[begin + (count - 1) // 2] + value[begin + count // 2])
    return result


def byte_range(
    parts: Sequence[Stream], code_n: npt.NDArray[np.int64], num_ids: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    low, high = np.full((num_ids, 8), 255, np.uint8), np.zeros((num_ids, 8), np.uint8)
    if not len(code_n):
        return low, high
    data = np.concatenate([p.data_n8 for p in parts])
    inside = np.arange(8) < np.concatenate([p.size_n for p in parts])[:, None]
    order = np.argsort(code_n, kind="stable")
    begin = np.flatnonzero(np.r_[True, np.diff(code_n[order]) > 0])
    low[:] = np.minimum.reduceat(np.where(inside, data, 255)[order], begin, axis=0)
    high[:] = np.maximum.reduceat(np.where(inside, data, 0)[order], begin, axis=0)
    return low, high
