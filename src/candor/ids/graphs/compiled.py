"""One compiled pass over the windows of a capture. Called through ``kernels``; ``kernels_reference`` says it readably.

All compiled functions of this pass live in this file, and what they need of other files is handed in: Numba's cache
notices a change of this file only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# n frames, G windows, U distinct IDs of the capture, P profile IDs, W frames of the longest window, N nodes, E edges

#: Columns in the order this file writes them; ``kernels`` refuses to start if the feature table has another one.
NODE_ORDER = (
    *("share", "rate_log_ratio", "interval_log_ratio_mean", "early_density", "early_share", "late_share"),
    *(
        "payload_change",
        "payload_change_abs",
        "byte_novelty",
        "dlc_novel",
        "id_novel",
        "in_degree",
        "out_degree",
    ),
    *(
        "first_position",
        "last_position",
        "byte_entropy",
        "window_load",
        "window_missing",
        "window_novel_share",
    ),
    *("window_early_share", "log10_interval", *(f"byte_{i}_mean" for i in range(8)), "dlc_mean"),
)
EDGE_ORDER = (
    *("count", "frequency", "interval_mean", "interval_std", "regularity", "first_position", "last_position"),
    *("span", "reverse", "degree_product", "degree_ratio"),
)


class Frames(NamedTuple):
    """Per frame (n each), as in Stream and Relative."""

    t: Any
    code: Any
    data: Any
    dlc: Any
    has_data: Any
    y: Any
    attack: Any
    mark: Any
    real: Any


class Ids(NamedTuple):
    """Per distinct ID of the capture (U each); rate is 1 / median interval."""

    key: Any
    known: Any
    rate: Any


class Usual(NamedTuple):
    """The profile: medians ascending (P), Σ 1/median from each of them to the largest (P + 1), constants.

    With the sums, what all P IDs together should have sent costs a binary search per window instead of P divisions: a
    fuzzed calibration can know 2 000 IDs.
    """

    median: Any
    rate_from: Any
    frames_per_s: float
    prior: float
    clip: float
    min_time: float


class Scratch(NamedTuple):
    """One window at a time: per ID (U), per frame (W), per node (at most W and U).

    Numbers that index are unsigned: Numba looks whether others are negative.
    """

    node_of_code: Any
    local: Any
    order: Any
    trans: Any
    leaves: Any
    gaps: Any
    code_of: Any
    count: Any
    begin: Any
    into: Any
    row: Any
    in_edges: Any
    out_edges: Any
    first: Any
    last: Any
    median: Any
    tally: Any
    sums: Any
    votes: Any


#: Columns of Scratch.tally: eight payload bytes, the frames' marks in their order, and three more.
MARKS = (8, 9, 10, 11, 12, 13, 14, 15)
_KNOWN, _TIMED, _EARLY, _LATE, _COMPARED, _DLC_NEW, _OUTSIDE, _BYTES = MARKS
_WITH_DATA, _DLC, _ATTACK, TALLIES = 16, 17, 18, 19
#: Columns of Scratch.sums: the frames' reals in their order.
REALS = (0, 1, 2, 3)
_RATIO, _DEV, _ABS, _ENTROPY = REALS

_PER_LN_10 = 1.0 / math.log(10.0)

# Without Numba's reference counts, which cost more than the work: every array handed on and every row taken is counted
# up and down, one locked instruction each. Such a function cannot allocate.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)


@_jit
def pack_windows(f, ids, usual, start_G, stop_G, min_attack_frames, out, s):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the graphs of all windows; returns N and E."""
    nodes = edges = 0
    for g in range(len(start_G)):
        a, b = start_G[g], stop_G[g]
        count = _number_nodes(f, a, b, s)
        _sort_entries(b - a, count, s)
        made = _edges(f.t, a, b - a, count, edges, out, s)
        _node_rows(f, ids, usual, a, b, count, nodes, out, s)
        _label(f, a, b, count, min_attack_frames, g, out, s)
        out.node_counts[g], out.edge_counts[g] = count, made
        nodes += count
        edges += made
        for k in range(count):
            s.node_of_code[s.code_of[k]] = -1
    return nodes, edges


@_jit
def _number_nodes(f, a, b, s):  # type: ignore[no-untyped-def]
    """Number IDs by first appearance and add up what their frames carry; returns the number of nodes."""
    count = 0
    for i in range(a, b):
        code = f.code[i]
        k = s.node_of_code[code]
        if k < 0:
            k = count
            count += 1
            s.node_of_code[code] = k
            s.code_of[k] = code
            s.count[k] = 0
            s.tally[k, :] = 0
            s.sums[k, :] = 0.0
            s.first[k] = i - a
        s.local[i - a] = k
        s.count[k] += 1
        s.last[k] = i - a
        # By the width of the arrays: loops of a length known here are unrolled into additions one by one.
        for j in range(f.data.shape[1]):
            s.tally[k, j] += f.data[i, j]
        for j in range(f.mark.shape[1]):
            s.tally[k, 8 + j] += f.mark[i, j]
        s.tally[k, _WITH_DATA] += f.has_data[i]
        s.tally[k, _DLC] += min(f.dlc[i], 64)
        s.tally[k, _ATTACK] += f.y[i]
        for j in range(f.real.shape[1]):
            s.sums[k, j] += f.real[i, j]
    return count


@_jit
def _sort_entries(width, count, s):  # type: ignore[no-untyped-def]
    """Two stable counting sorts: entries by node, then transitions by (target, source, time)."""
    at = 0
    for k in range(count):
        s.begin[k] = at
        s.row[k] = at - (k > 0)  # The first frame, which is of node 0, ends no transition.
        at += s.count[k]
        s.into[k] = s.count[k] - (k == 0)
    for i in range(width):
        k = s.local[i]
        at = s.begin[k]
        s.order[at] = i
        s.begin[k] = at + 1  # Now its end; _node_rows reads it so.
    p = 0
    for source in range(count):
        end = s.begin[source]
        while p < end:
            i = s.order[p]
            p += 1
            if i < width - 1:
                k = s.local[i + 1]
                at = s.row[k]
                s.trans[at] = i
                s.leaves[at] = source
                s.row[k] = at + 1


@_jit
def _edges(t, a, width, count, base, out, s):  # type: ignore[no-untyped-def]
    """Edges of one window, grouped runs of the sorted transitions; returns how many."""
    last_node = s.local[width - 1]
    per_index, per_transition = 1.0 / max(width - 2, 1), 1.0 / (width - 1)
    s.in_edges[:count] = 0
    s.out_edges[:count] = 0
    e, p = base, 0
    for target in range(count):
        end = s.row[target]
        s.row[target] = e  # From here on: the first edge into this node.
        into = s.count[target] + s.into[target] - (target == last_node)
        per_into = 1.0 / max(into, 1)
        while p < end:
            source, first = s.leaves[p], p
            p += 1
            while p < end and s.leaves[p] == source:
                p += 1
            times = p - first
            leaving = s.count[source] + s.into[source] - (source == last_node)
            row = out.edge_attr[e]
            row[0] = times
            row[1] = times * per_transition
            row[2] = row[3] = row[4] = 0.0
            if times > 1:
                begun, per_gap = t[a + s.trans[first] + 1], 1.0 / (times - 1)
                mean = (t[a + s.trans[p - 1] + 1] - begun) * per_gap
                total = 0.0
                for q in range(first + 1, p):
                    seen = t[a + s.trans[q] + 1]
                    total += (seen - begun - mean) ** 2
                    begun = seen
                std = math.sqrt(total * per_gap)
                row[2] = mean
                row[3] = std
                row[4] = 1.0 / (1.0 + 1e3 * std)
            row[5] = s.trans[first] * per_index
            row[6] = s.trans[p - 1] * per_index
            row[7] = (s.trans[p - 1] - s.trans[first]) * per_index
            row[9] = leaving * into
            row[10] = leaving * per_into
            out.source[e], out.target[e] = source, target
            s.in_edges[target] += 1
            s.out_edges[source] += 1
            e += 1
    # Edges come by (target, source), so the reverse of the next edge out of a node never lies before that of the
    # last: one cursor per node finds them all.
    for e2 in range(base, e):
        source, target = out.source[e2], out.target[e2]
        at = s.row[source]
        while at < e and out.target[at] == source and out.source[at] < target:
            at += 1
        s.row[source] = at
        out.edge_attr[e2, 8] = at < e and out.target[at] == source and out.source[at] == target
    return e - base


@_jit
def _node_rows(f, ids, usual, a, b, count, base, out, s):  # type: ignore[no-untyped-def]
    width = b - a
    duration = max(f.t[b - 1] - f.t[a], 0.0)
    _gap_medians(f.t, a, count, s)
    load, missing = _window_columns(ids, usual, duration, width, count, s)
    novel = early = 0.0
    for k in range(count):
        early += s.tally[k, _EARLY]
        if not ids.known[s.code_of[k]]:
            novel += s.count[k]
    per_frame, per_index, per_node = 1.0 / width, 1.0 / (width - 1), 1.0 / count
    for k in range(count):
        sums, tally, row = s.sums[k], s.tally[k], out.x[base + k]
        code, number, known = s.code_of[k], float(s.count[k]), ids.known[s.code_of[k]]
        per_timed, per_compared = 1.0 / (tally[_TIMED] + usual.prior), 1.0 / (tally[_COMPARED] + usual.prior)
        per_data = 1.0 / max(tally[_WITH_DATA], 1)
        row[0] = number * per_frame
        row[1] = 0.0
        if known:
            ratio = math.log((number + 0.5) / (duration * ids.rate[code] + 0.5))
            row[1] = min(max(ratio, -usual.clip), usual.clip)
        row[2] = sums[_RATIO] * per_timed
        row[3] = tally[_EARLY] * per_frame
        row[4] = tally[_EARLY] * per_timed
        row[5] = tally[_LATE] * per_timed
        row[6] = sums[_DEV] * per_compared
        row[7] = sums[_ABS] * per_compared
        row[8] = tally[_OUTSIDE] / (tally[_BYTES] + 4.0 * usual.prior)
        row[9] = tally[_DLC_NEW] / (number + usual.prior)
        row[10] = not known
        row[11] = s.in_edges[k] * per_node
        row[12] = s.out_edges[k] * per_node
        row[13] = s.first[k] * per_index
        row[14] = s.last[k] * per_index
        row[15] = sums[_ENTROPY] * per_data
        row[16] = load
        row[17] = missing
        row[18] = novel * per_frame
        row[19] = early * per_frame
        row[20] = 0.0
        if s.count[k] > 1:
            row[20] = math.log(max(s.median[k], usual.min_time)) * _PER_LN_10
        for j in range(8):
            row[21 + j] = tally[j] * (per_data / 255.0)
        row[29] = tally[_DLC] / (8.0 * number)
        out.node_id[base + k] = ids.key[code]
        out.node_y[base + k] = tally[_ATTACK] > 0


@_jit
def _window_columns(ids, usual, duration, width, count, s):  # type: ignore[no-untyped-def]
    """Load of the bus, and the share of the expected frames of profile IDs that did not come."""
    load = 0.0
    if usual.frames_per_s > 0:
        load = math.log((width - 1) / usual.frames_per_s / max(duration, usual.min_time))
        load = min(max(load, -usual.clip), usual.clip)
    # An ID is expected min(duration / median, width) times and may lack one frame; sum over all P of both terms as if
    # none had come, then correct for those that did.
    full = np.searchsorted(usual.median, duration / width, side="right")
    some = max(np.searchsorted(usual.median, duration, side="left"), full)
    expected = full * float(width) + duration * usual.rate_from[full]
    absent = full * (width - 1.0) + duration * (usual.rate_from[full] - usual.rate_from[some]) - (some - full)
    for k in range(count):
        code = s.code_of[k]
        if ids.known[code]:
            own = min(duration * ids.rate[code], float(width)) - 1.0
            absent += max(own - s.count[k], 0.0) - max(own, 0.0)
    return load, max(absent, 0.0) / expected if expected > 0 else 0.0


@_jit
def _gap_medians(t, a, count, s):  # type: ignore[no-untyped-def]
    """Median time between the frames of each node, into ``s.median``; 0 below two frames.

    For the whole window at once: handing the arrays over per node cost 20 ns a frame, a quarter of the pass. Without
    branches on the gaps, which no processor foresees: sorting by insertion took 18 ns a frame.
    """
    first = 0
    for k in range(count):
        number, end = s.count[k] - 1, s.begin[k]
        if number <= 2:  # Two gaps need no order, and most IDs send no more.
            s.median[k] = (t[a + s.order[end - 1]] - t[a + s.order[first]]) / max(number, 1)
        else:
            before = t[a + s.order[first]]
            for q in range(number):
                now = t[a + s.order[first + 1 + q]]
                s.gaps[q] = now - before
                before = now
            g = s.gaps
            if number <= 5:
                low, high = min(g[0], g[1]), max(g[0], g[1])
                if number == 3:
                    s.median[k] = max(low, min(high, g[2]))
                else:
                    low, high = max(low, min(g[2], g[3])), min(high, max(g[2], g[3]))
                    middle = max(min(low, high), min(max(low, high), g[4]))
                    s.median[k] = 0.5 * (low + high) if number == 4 else middle
            elif number <= 64:
                s.median[k] = _middle_by_rank(g, number)
            else:  # Comparing all with all is quadratic, and a flood sends hundreds.
                high = _select(g, number, number // 2)
                low = high
                if number % 2 == 0:  # What lies before the upper middle is no larger.
                    low = g[0]
                    for q in range(1, number // 2):
                        low = max(low, g[q])
                s.median[k] = 0.5 * (low + high)
        first = end


@_jit
def _middle_by_rank(g, number):  # type: ignore[no-untyped-def]
    """Median of ``g[:number]``: the value that as many are below as are above."""
    lower, upper = (number - 1) // 2, number // 2
    low = high = 0.0
    for q in range(number):
        value, below, upto = g[q], 0, 0
        for p in range(number):
            below += g[p] < value
            upto += g[p] <= value
        low = value if below <= lower < upto else low
        high = value if below <= upper < upto else high
    return 0.5 * (low + high)


@_jit
def _select(g, number, rank):  # type: ignore[no-untyped-def]
    """The ``rank``-th smallest of ``g[:number]``, moved to that place, smaller ones before it (Hoare's FIND)."""
    left, right = 0, number - 1
    while left < right:
        pivot, i, j = g[rank], left, right
        while i <= j:
            while g[i] < pivot:
                i += 1
            while pivot < g[j]:
                j -= 1
            if i <= j:
                g[i], g[j] = g[j], g[i]
                i += 1
                j -= 1
        if j < rank:
            left = i
        if rank < i:
            right = j
    return g[rank]


@_jit
def _label(f, a, b, count, min_attack_frames, g, out, s):  # type: ignore[no-untyped-def]
    """Window label, and the most frequent family in it (the first by code on a tie; −1 if benign)."""
    attacks = 0
    for k in range(count):
        attacks += s.tally[k, _ATTACK]
    out.y[g] = attacks >= min_attack_frames
    out.attack[g] = -1
    if attacks < min_attack_frames or len(s.votes) == 0:
        return
    s.votes[:] = 0
    for i in range(a, b):
        if f.attack[i] >= 0:
            s.votes[f.attack[i]] += 1
    best = 0
    for family in range(1, len(s.votes)):
        best = family if s.votes[family] > s.votes[best] else best
    if s.votes[best] > 0:
        out.attack[g] = best
