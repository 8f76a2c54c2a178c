"""Compiled passes over frames for payload dynamics (see payload.py). One pass each, linear in frames.

Legend: n frames, U identifiers of a capture, P identifiers of the tables, B = 8 bytes, L = 16 levels, V = 256 values,
Q = 3 views.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_jit = njit(nogil=True, cache=True, error_model="numpy")

VALUE, STEP, AGREEMENT = range(3)
VIEWS = 3
LEVELS = 16
#: Values of one level.
_SHIFT = 4


@_jit
def count(
    frames: Any,
    row_U: Any,
    code: Any,
    data: Any,
    size: Any,
    has_data: Any,
    fresh: Any,
    values: Any,
    steps: Any,
    pairs: Any,
) -> None:
    """Add the frames at ``frames`` to values[P, B, V], steps[P, B, L, V] (by the level left) and pairs[P, B, B, V].

    ``fresh[n]`` marks frames whose past must be forgotten (a cut before them).
    """
    before = np.zeros((len(row_U), 8), np.int64)
    seen = np.zeros(len(row_U), np.bool_)
    for n in frames:
        if fresh[n]:
            seen[:] = False
        u = code[n]
        p = row_U[u]
        if p < 0 or not has_data[n]:
            continue
        for i in range(size[n]):
            v = np.int64(data[n, i])
            values[p, i, v] += 1
            if seen[u]:
                steps[p, i, before[u, i] >> _SHIFT, (v - before[u, i]) & 255] += 1
            for j in range(size[n]):
                if j != i:
                    pairs[p, i, j, (v - np.int64(data[n, j])) & 255] += 1
            before[u, i] = v
        seen[u] = True


@_jit
def surprise(
    frames: Any,
    row_U: Any,
    code: Any,
    data: Any,
    size: Any,
    has_data: Any,
    fresh: Any,
    value_bits: Any,
    step_bits: Any,
    pair_bits: Any,
    peer: Any,
    bits: Any,
    sums: Any,
) -> None:
    """bits[n, Q]: what the bytes of each frame at ``frames`` cost in each view, summed over its bytes.

    value_bits[P, B, V], step_bits[P, B, L, V], pair_bits[P, B, V] are costs; peer[P, B] the byte compared with, −1 none.
    sums[P, B, Q, 3] gathers count, sum and sum of squares per byte. Frames of unknown identifiers, without payload or
    without a past get NaN: there is nothing to compare with.
    """
    before = np.zeros((len(row_U), 8), np.int64)
    seen = np.zeros(len(row_U), np.bool_)
    for n in frames:
        if fresh[n]:
            seen[:] = False
        u = code[n]
        p = row_U[u]
        bits[n, :] = np.nan
        if p < 0 or not has_data[n]:
            continue
        if seen[u]:
            bits[n, :] = 0.0
            for i in range(size[n]):
                v = np.int64(data[n, i])
                for q in range(VIEWS):
                    cost = 0.0
                    if q == VALUE:
                        cost = value_bits[p, i, v]
                    elif q == STEP:
                        cost = step_bits[p, i, before[u, i] >> _SHIFT, (v - before[u, i]) & 255]
                    else:
                        j = peer[p, i]
                        if 0 <= j < size[n]:
                            cost = pair_bits[p, i, (v - np.int64(data[n, j])) & 255]
                    bits[n, q] += cost
                    sums[p, i, q, 0] += 1.0
                    sums[p, i, q, 1] += cost
                    sums[p, i, q, 2] += cost * cost
        for i in range(size[n]):
            before[u, i] = np.int64(data[n, i])
        seen[u] = True


@_jit
def windows(
    start: Any, stop: Any, code: Any, z: Any, ids: Any, score: Any, worst: Any, view: Any, weight: Any
) -> None:
    """score[G]: over views, the sum of the largest Σz / sqrt(count + 1) of any identifier.

    worst[G], view[G], weight[G]: whose and which view's is the largest of all, and how large.
    """
    total = np.zeros((ids, VIEWS))
    number = np.zeros(ids, np.int64)
    touched = np.empty(ids, np.int64)
    for g in range(len(start)):
        held = 0
        for n in range(start[g], stop[g]):
            if math.isnan(z[n, 0]):
                continue
            u = code[n]
            if number[u] == 0:
                touched[held] = u
                held += 1
            for q in range(VIEWS):
                total[u, q] += z[n, q]
            number[u] += 1
        score[g], worst[g], view[g] = 0.0, -1, -1
        top = -math.inf
        for q in range(VIEWS):
            most = -math.inf
            for h in range(held):
                u = touched[h]
                own = total[u, q] / math.sqrt(number[u] + 1.0)
                most = max(most, own)
                if own > top:
                    top, worst[g], view[g] = own, u, q
            if held:
                score[g] += most
        weight[g] = top
        for h in range(held):
            total[touched[h], :] = 0.0
            number[touched[h]] = 0


@_jit
def order_windows(start: Any, stop: Any, code: Any, z: Any, ids: Any, weight: Any, worst: Any) -> None:
    """weight[G]: the largest Σz / sqrt(count + 1) of any identifier, Σ over its frames and the frames right behind them.

    Only frames of the window count, so that a window is judged by its own frames and their past. z[n] is NaN where nothing
    is known. worst[G]: whose it is, −1 and −inf where nothing is judged.
    """
    total = np.zeros(ids)
    number = np.zeros(ids, np.int64)
    touched = np.empty(ids, np.int64)
    for g in range(len(start)):
        held = 0
        for n in range(start[g], stop[g]):
            u = code[n]
            if not math.isnan(z[n]):
                if number[u] == 0:
                    touched[held] = u
                    held += 1
                total[u] += z[n]
                number[u] += 1
                if n > start[g] and number[code[n - 1]] > 0:
                    total[code[n - 1]] += z[n]
        weight[g], worst[g] = -math.inf, -1
        for h in range(held):
            u = touched[h]
            own = total[u] / math.sqrt(number[u] + 1.0)
            if own > weight[g]:
                weight[g], worst[g] = own, u
            total[u] = 0.0
            number[u] = 0
