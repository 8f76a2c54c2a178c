"""Compiled passes over the frames of a capture. Called through ``stream``; ``stream_reference`` says them readably.

What they need of other files is handed in: Numba's cache notices a change of this file only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# n frames, U distinct IDs, 8 payload bytes

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def number_ids(key_n, code_n, previous_n):  # type: ignore[no-untyped-def]
    """Fill codes by first appearance and the previous frame of the same ID (−1 none); returns the keys by code.

    An open-addressing table instead of a sort: a capture has few IDs and many frames. It doubles when a quarter full.
    """
    bits, used, done = 13, 0, 0
    keys, last = np.empty(1 << (bits - 2), np.uint32), np.empty(1 << (bits - 2), np.int64)
    while True:
        table = np.full(1 << bits, -1, np.int32)
        for code in range(used):
            table[_slot(keys[code], table, keys)] = code
        used, done = _number_until_full(key_n, code_n, previous_n, table, keys, last, used, done)
        if done == len(key_n):
            return keys[:used].copy()
        bits += 1
        keys = np.concatenate((keys, np.empty_like(keys)))
        last = np.concatenate((last, np.empty_like(last)))


@_jit
def _number_until_full(key_n, code_n, previous_n, table, keys, last, used, done):  # type: ignore[no-untyped-def]
    for i in range(done, len(key_n)):
        at = _slot(key_n[i], table, keys)
        code = table[at]
        if code < 0:
            if used == len(keys):
                return used, i
            code, used = used, used + 1
            table[at] = code
            keys[code], last[code] = key_n[i], -1
        code_n[i] = code
        previous_n[i] = last[code]
        last[code] = i
    return used, len(key_n)


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
def compare(a, b, rank_U, log_88, t, data64, dlc, has_data, previous_n, out):  # type: ignore[no-untyped-def]
    """Frames ``[a, b)``: final code, payload size, time and bit change since the previous frame, byte entropy.

    ``log_88[k, s]`` is ln(k / s): logarithms of shares of eight bytes are few.
    """
    for i in range(a, b):
        out.code[i] = rank_U[out.code[i]]
        size = np.int64(min(dlc[i], 8)) if has_data[i] else np.int64(0)
        out.size[i] = size
        out.entropy[i] = _entropy(data64[i], size, log_88)
        out.dt[i] = out.change[i] = np.nan
        p = previous_n[i]
        if p >= 0:
            out.dt[i] = t[i] - t[p]
            if has_data[i] and has_data[p]:
                bits = 8 * max(size, np.int64(min(dlc[p], 8)), np.int64(1))
                out.change[i] = _popcount(data64[i] ^ data64[p]) / bits


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
def _entropy(word, size, log_88):  # type: ignore[no-untyped-def]
    """Shannon entropy of the lowest ``size`` bytes of ``word`` / ln(size)."""
    if size < 2:
        return 0.0
    total = 0.0
    if size == 8:
        # Byte j of ``twins``: how many others equal it. Seven rotations compare every byte with every other.
        twins = np.uint64(0)
        for r in range(1, 8):
            turned = (word << np.uint64(8 * r)) | (word >> np.uint64(64 - 8 * r))
            twins += _zero_bytes(word ^ turned) >> np.uint64(7)
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


class Related(NamedTuple):
    """Per-frame results of ``relate`` (n each), see Relative."""

    known: Any
    timed: Any
    log_ratio: Any
    early: Any
    late: Any
    compared: Any
    deviation: Any
    outside: Any
    bytes: Any
    dlc_new: Any


@_jit
def relate(a, b, ids, code_n, dt, change, data, size, dlc, dlc_code, min_time, clip, out):  # type: ignore[no-untyped-def]
    """Frames ``[a, b)`` against the profile of their ID."""
    for i in range(a, b):
        u = code_n[i]
        known = ids.known[u]
        timed = known and not np.isnan(dt[i])
        compared = known and not np.isnan(change[i])
        out.known[i], out.timed[i], out.compared[i] = known, timed, compared
        ratio = math.log(max(dt[i], min_time) / ids.median[u]) if timed else 0.0
        out.log_ratio[i] = min(max(ratio, -clip), clip)
        out.early[i] = timed and dt[i] < ids.early[u]
        out.late[i] = timed and dt[i] > ids.late[u]
        out.deviation[i] = change[i] - ids.bit_change[u] if compared else 0.0
        out.dlc_new[i] = known and (ids.dlc_mask[u] >> dlc_code[min(dlc[i], 64)]) & 1 == 0
        beyond = 0
        if known:
            for j in range(size[i]):
                beyond += data[i, j] < ids.low[u, j] or data[i, j] > ids.high[u, j]
        out.outside[i] = beyond
        out.bytes[i] = size[i] if known else 0
