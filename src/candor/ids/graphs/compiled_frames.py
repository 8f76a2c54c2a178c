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
#: IDs below this have a slot each.
DIRECT = 1 << 11


class Frames(NamedTuple):
    """What was recorded of each frame (n each); ``word`` is the payload as a little-endian number."""

    t: Any
    id: Any
    flags: Any
    word: Any
    dlc: Any


class Latest(NamedTuple):
    """By code, of the IDs so far: the key, and the latest frame's time, payload and size (−1 without a payload)."""

    key: Any
    t: Any
    word: Any
    size: Any


class Compared(NamedTuple):
    """Per-frame results of ``number`` (n each), see Stream."""

    code: Any
    dt: Any
    change: Any


class Constants(NamedTuple):
    """Flags of the frame table, and tables of few values.

    ``log_88[k, s]`` is ln(k / s): logarithms of shares of eight bytes are few. ``payload[s]`` has the bits of s bytes.
    """

    extended: int
    extended_bit: Any
    remote: int
    log_88: Any
    payload: Any
    dlc_code: Any
    min_time: float
    clip: float


@_jit
def number(at, used, f, c, direct, table, latest, out):  # type: ignore[no-untyped-def]
    """Number the ID keys of frames ``[at, n)`` by first appearance, and compare each frame with its ID's latest one.

    Returns the number of IDs, and where it stopped: at n, or where there is no room for another ID.

    11-bit IDs have a slot each. The others go into an open-addressing table instead of a sort: a capture has few IDs
    and many frames. The latest frame of each ID fits into the processor's cache; the frames themselves do not.
    """
    for i in range(at, len(out.code)):
        key = f.id[i]
        if f.flags[i] & c.extended:
            key |= c.extended_bit
        code: Any = np.int64(direct[key] if key < DIRECT else table[_slot(key, table, latest.key)])
        size = np.int64(min(f.dlc[i], 8))
        word = f.word[i] & c.payload[size]
        if f.flags[i] & c.remote:
            size, word = np.int64(-1), np.uint64(0)
        dt, change = np.nan, np.float32(np.nan)
        if code < 0:
            if used == len(latest.key):
                return used, i
            code = used
            used += 1
            if key < DIRECT:
                direct[key] = code
            else:
                table[_slot(key, table, latest.key)] = code
            latest.key[code] = key
        else:
            dt = f.t[i] - latest.t[code]
            before = np.int64(latest.size[code])
            if size >= 0 and before >= 0:
                change = np.float32(
                    _popcount(word ^ latest.word[code]) / (8 * max(size, before, np.int64(1)))
                )
        latest.t[code], latest.word[code], latest.size[code] = f.t[i], word, size
        out.code[i], out.dt[i], out.change[i] = code, dt, change
    return used, len(out.code)


@_jit
def enter_again(table, keys, used):  # type: ignore[no-untyped-def]
    """Fill an empty table with the keys it is for."""
    for code in range(used):
        if keys[code] >= DIRECT:
            table[_slot(keys[code], table, keys)] = code


@_jit
def _slot(key, table, keys):  # type: ignore[no-untyped-def]
    """Where ``key`` is, or where it would be entered."""
    mask = len(table) - 1
    at = (np.int64(key) * 0x9E3779B1 >> 15) & mask
    while table[at] >= 0 and keys[table[at]] != key:
        at = (at + 1) & mask
    return at


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
    word: Any
    dlc: Any
    flags: Any
    dt: Any
    change: Any


class Rows(NamedTuple):
    """Frames as a window's pass reads them: payload, whether there is one, marks [8] and reals [4] (n each)."""

    word: Any
    has_data: Any
    mark: Any
    real: Any


@_jit
def payloads(s, c, word_n, size_n, entropy_n):  # type: ignore[no-untyped-def]
    """Payload, its size and the entropy of its bytes of every frame."""
    for i in range(len(word_n)):
        size = np.int64(0) if s.flags[i] & c.remote else np.int64(min(s.dlc[i], 8))
        word_n[i], size_n[i] = s.word[i] & c.payload[size], size
        entropy_n[i] = _entropy(word_n[i], size, c.log_88)


@_jit
def relate(a, b, ids, s, c, out):  # type: ignore[no-untyped-def]
    """Frames ``[a, b)`` against the profile of their ID.

    By the block that is about to be built, so that nothing of it leaves the processor's cache. A frame's marks lie side
    by side, and so do its reals: a window's pass adds each row to its node's in one go.
    """
    mark_n8, real_n4 = out.mark, out.real
    for i in range(a, b):
        k, u = i - a, s.code[i]
        has_data = s.flags[i] & c.remote == 0
        size = np.int64(min(s.dlc[i], 8)) if has_data else np.int64(0)
        word = s.word[i] & c.payload[size]
        known = ids.known[u]
        dt, change = s.dt[i], s.change[i]
        timed, compared = known and not np.isnan(dt), known and not np.isnan(change)
        ratio = np.float32(max(dt, c.min_time) / ids.median[u] if timed else 1.0)
        deviation = np.float32(change - ids.bit_change[u]) if compared else np.float32(0.0)
        outside: Any = 0
        for j in range(8):
            byte = (word >> np.uint64(8 * j)) & np.uint64(0xFF)
            outside += (byte < ids.low[u, j] or byte > ids.high[u, j]) and j < size
        out.word[k], out.has_data[k] = word, has_data
        mark_n8[k, KNOWN], mark_n8[k, TIMED], mark_n8[k, COMPARED] = known, timed, compared
        mark_n8[k, EARLY] = timed and dt < ids.early[u]
        mark_n8[k, LATE] = timed and dt > ids.late[u]
        mark_n8[k, DLC_NEW] = known and (ids.dlc_mask[u] >> c.dlc_code[min(s.dlc[i], 64)]) & 1 == 0
        mark_n8[k, OUTSIDE] = outside if known else 0
        mark_n8[k, BYTES] = size if known else 0
        real_n4[k, LOG_RATIO] = min(max(math.log(ratio), -c.clip), c.clip)
        real_n4[k, DEVIATION], real_n4[k, DEVIATION_ABS] = deviation, abs(deviation)
        real_n4[k, ENTROPY] = _entropy(word, size, c.log_88)
