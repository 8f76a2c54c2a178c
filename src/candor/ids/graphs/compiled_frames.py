"""Compiled passes over the frames of a capture. Called through ``stream``; ``stream_reference`` says them readably.

What they need of other files is handed in: Numba's cache notices a change of this file only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# n frames, U distinct IDs, 8 payload bytes

# Without Numba's reference counts, which cost more than the work: every array handed on and every row taken is counted
# up and down, one locked instruction each. Such a function cannot allocate.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)

#: Columns of a frame's marks and of its reals, see ``relate``.
KNOWN, TIMED, EARLY, LATE, COMPARED, DLC_NEW, OUTSIDE, BYTES = 0, 1, 2, 3, 4, 5, 6, 7
LOG_RATIO, DEVIATION, DEVIATION_ABS, ENTROPY = 0, 1, 2, 3
_DIRECT = 1 << 11


@njit(nogil=True, cache=True, error_model="numpy")
def number_ids(a, b, extended, extended_bit, id_n, flags_n, code_n, previous_n):  # type: ignore[no-untyped-def]
    """Number the ID keys of frames ``[a, b)`` by first appearance, and find the previous frame of the same ID.

    Fills codes and previous frames (−1 none); returns the keys by code, and the first and last frame of each.

    11-bit IDs have a slot each. The others go into an open-addressing table instead of a sort: a capture has few IDs
    and many frames. It doubles when a quarter full.
    """
    direct, table = np.full(_DIRECT, -1, np.int32), np.full(4 * _DIRECT, -1, np.int32)
    keys = np.empty(_DIRECT, np.uint32)
    first, last = np.empty(_DIRECT, np.int64), np.empty(_DIRECT, np.int64)
    used, at = 0, a
    while True:
        frames = (id_n, flags_n, code_n, previous_n)
        used, at = _number_until_full(
            at, b, extended, extended_bit, frames, direct, table, keys, first, last, used
        )
        if at == b:
            return keys[:used].copy(), first[:used].copy(), last[:used].copy()
        table = np.full(2 * len(table), -1, np.int32)
        _enter_again(table, keys, used)
        keys = np.concatenate((keys, np.empty_like(keys)))
        first = np.concatenate((first, np.empty_like(first)))
        last = np.concatenate((last, np.empty_like(last)))


@_jit
def _number_until_full(a, b, extended, extended_bit, frames, direct, table, keys, first, last, used):  # type: ignore[no-untyped-def]
    id_n, flags_n, code_n, previous_n = frames
    for i in range(a, b):
        key = id_n[i]
        if flags_n[i] & extended:
            key |= extended_bit
        code = np.int64(direct[key] if key < _DIRECT else table[_slot(key, table, keys)])
        if code < 0:
            if used == len(keys):
                return used, i
            code = used
            used += 1
            if key < _DIRECT:
                direct[key] = code
            else:
                table[_slot(key, table, keys)] = code
            keys[code], first[code], last[code] = key, i, -1
        code_n[i] = code
        previous_n[i] = last[code]
        last[code] = i
    return used, b


@_jit
def _enter_again(table, keys, used):  # type: ignore[no-untyped-def]
    for code in range(used):
        if keys[code] >= _DIRECT:
            table[_slot(keys[code], table, keys)] = code


@_jit
def _slot(key, table, keys):  # type: ignore[no-untyped-def]
    """Where ``key`` is, or where it would be entered."""
    mask = len(table) - 1
    at = (np.int64(key) * 0x9E3779B1 >> 15) & mask
    while table[at] >= 0 and keys[table[at]] != key:
        at = (at + 1) & mask
    return at


class Measured(NamedTuple):
    """Per-frame results of ``compare`` (n each), see Stream."""

    code: Any
    size: Any
    dt: Any
    change: Any
    entropy: Any


@_jit
def compare(a, b, rank_U, log_88, payload, t, data64, dlc, has_data, previous_n, out):  # type: ignore[no-untyped-def]
    """Frames ``[a, b)``: final code, payload size, time and bit change since the previous frame, byte entropy.

    ``log_88[k, s]`` is ln(k / s): logarithms of shares of eight bytes are few. ``payload[s]`` has the bits of s bytes;
    returns whether any frame has others.
    """
    nan, spilt = np.float32(np.nan), np.uint64(0)
    for i in range(a, b):
        out.code[i] = rank_U[out.code[i]]
        size = np.int64(min(dlc[i], 8)) if has_data[i] else np.int64(0)
        out.size[i] = size
        spilt |= data64[i] & ~payload[size]
        out.entropy[i] = _entropy(data64[i], size, log_88)
        p = previous_n[i]
        dt, change = np.nan, nan
        if p >= 0:
            dt = t[i] - t[p]
            if has_data[i] and has_data[p]:
                bits = 8 * max(size, np.int64(min(dlc[p], 8)), np.int64(1))
                change = np.float32(_popcount(data64[i] ^ data64[p]) / bits)
        out.dt[i], out.change[i] = dt, change
    return spilt != 0


@_jit
def _popcount(x):  # type: ignore[no-untyped-def]
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_jit
def _zero_bytes(x):  # type: ignore[no-untyped-def]
    """0x80 in every byte of ``x`` that is 0: the low seven bits plus 0x7F leave the top bit clear only there."""
    low = np.uint64(0x7F7F7F7F7F7F7F7F)
    return ~(((x & low) + low) | x | low)


@_jit
def _turned(x, r):  # type: ignore[no-untyped-def]
    return (x << np.uint64(8 * r)) | (x >> np.uint64(64 - 8 * r))


@_jit
def _entropy(word, size, log_88):  # type: ignore[no-untyped-def]
    """Shannon entropy of the lowest ``size`` bytes of ``word`` / ln(size)."""
    if size < 2:
        return 0.0
    total = 0.0
    if size == 8:
        # Byte j of ``twins``: how many others equal it. A byte that equals the r-th before it is itself the r-th
        # behind that one, so four rotations of the seven tell.
        twins = _zero_bytes(word ^ _turned(word, 4)) >> np.uint64(7)
        for r in range(1, 4):
            same = _zero_bytes(word ^ _turned(word, r)) >> np.uint64(7)
            twins += same + _turned(same, 8 - r)
        if twins == 0:
            return 1.0
        for j in range(8):
            total += log_88[1 + ((twins >> np.uint64(8 * j)) & np.uint64(0xFF)), 8]
    else:
        for j in range(size):
            same = word ^ (((word >> np.uint64(8 * j)) & np.uint64(0xFF)) * np.uint64(0x0101010101010101))
            zero = _zero_bytes(same) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
            total += log_88[_popcount(zero), size]
    return abs(total / size / log_88[size, 1])


class Known(NamedTuple):
    """The profile's word on each distinct ID of the capture (U each); limits are medians times e^−1 and 3."""

    known: Any
    median: Any
    early: Any
    late: Any
    bit_change: Any
    low: Any
    high: Any
    dlc_mask: Any


class Columns(NamedTuple):
    """What ``relate`` reads of a Stream (n each)."""

    code: Any
    data: Any
    size: Any
    dlc: Any
    dt: Any
    change: Any
    entropy: Any


@_jit
def relate(ids, s, dlc_code, min_time, clip, mark_n8, real_n4):  # type: ignore[no-untyped-def]
    """The frames of ``s`` against the profile of their ID.

    A frame's marks lie side by side, and so do its reals: a window's pass adds each row to its node's in one go.
    """
    for i in range(len(mark_n8)):
        u = s.code[i]
        known = ids.known[u]
        dt, change = s.dt[i], s.change[i]
        timed, compared = known and not np.isnan(dt), known and not np.isnan(change)
        ratio = np.float32(max(dt, min_time) / ids.median[u] if timed else 1.0)
        deviation = np.float32(change - ids.bit_change[u]) if compared else np.float32(0.0)
        outside = 0
        for j in range(8):
            byte = s.data[i, j]
            outside += (byte < ids.low[u, j] or byte > ids.high[u, j]) and j < s.size[i]
        mark_n8[i, KNOWN], mark_n8[i, TIMED], mark_n8[i, COMPARED] = known, timed, compared
        mark_n8[i, EARLY] = timed and dt < ids.early[u]
        mark_n8[i, LATE] = timed and dt > ids.late[u]
        mark_n8[i, DLC_NEW] = known and (ids.dlc_mask[u] >> dlc_code[min(s.dlc[i], 64)]) & 1 == 0
        mark_n8[i, OUTSIDE] = outside if known else 0
        mark_n8[i, BYTES] = s.size[i] if known else 0
        real_n4[i, LOG_RATIO] = min(max(math.log(ratio), -clip), clip)
        real_n4[i, DEVIATION], real_n4[i, DEVIATION_ABS] = deviation, abs(deviation)
        real_n4[i, ENTROPY] = s.entropy[i]
