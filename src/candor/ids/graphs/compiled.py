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
    size: Any
    dlc: Any
    has_data: Any
    entropy: Any
    y: Any
    attack: Any
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


class Packed(NamedTuple):
    """Where the graphs go; rows for the worst case, of which the first N and E are used."""

    node_counts: Any
    edge_counts: Any
    node_id: Any
    x: Any
    source: Any
    target: Any
    edge_attr: Any
    y: Any
    attack: Any
    node_y: Any


class Scratch(NamedTuple):
    """One window at a time: per ID (U), per frame (W), per node (at most W and U)."""

    node_of_code: Any
    local: Any
    order: Any
    trans: Any
    gaps: Any
    code_of: Any
    count: Any
    begin: Any
    into: Any
    row: Any
    in_edges: Any
    out_edges: Any
    median: Any
    sums: Any
    bytes: Any


# Columns of Scratch.sums.
_TIMED, _RATIO, _EARLY, _LATE, _COMPARED, _DEV, _ABS, _OUTSIDE = 0, 1, 2, 3, 4, 5, 6, 7
_BYTES, _DLC_NEW, _WITH_DATA, _ENTROPY, _DLC, _ATTACK, _FIRST, _LAST = 8, 9, 10, 11, 12, 13, 14, 15

_PER_LN_10 = 1.0 / math.log(10.0)

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def pack_windows(f, ids, usual, start_G, stop_G, min_attack_frames, families, out, s):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the graphs of all windows; returns N and E."""
    nodes = edges = 0
    votes = np.zeros(max(families, 1), np.int64)
    for g in range(len(start_G)):
        a, b = start_G[g], stop_G[g]
        count = _number_nodes(f, a, b, s)
        _sort_entries(b - a, count, s)
        made = _edges(f.t, a, b - a, count, edges, out, s)
        _node_rows(f, ids, usual, a, b, count, nodes, out, s)
        _label(f, a, b, count, min_attack_frames, votes[:families], g, out, s)
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
            s.sums[k, :] = 0.0
            s.bytes[k, :] = 0
            s.sums[k, _FIRST] = i - a
        s.local[i - a] = k
        s.count[k] += 1
        row = s.sums[k]
        row[_LAST] = i - a
        if f.timed[i]:
            row[_TIMED] += 1.0
            row[_RATIO] += f.log_ratio[i]
        row[_EARLY] += f.early[i]
        row[_LATE] += f.late[i]
        row[_COMPARED] += f.compared[i]
        row[_DEV] += f.deviation[i]
        row[_ABS] += abs(f.deviation[i])
        row[_OUTSIDE] += f.outside[i]
        row[_BYTES] += f.bytes[i]
        row[_DLC_NEW] += f.dlc_new[i]
        row[_WITH_DATA] += f.has_data[i]
        row[_ENTROPY] += f.entropy[i]
        row[_DLC] += min(f.dlc[i], 64)
        row[_ATTACK] += f.y[i]
        if f.size[i] == 8:
            for j in range(8):
                s.bytes[k, j] += f.data[i, j]
        else:
            for j in range(f.size[i]):
                s.bytes[k, j] += f.data[i, j]
    return count


@_jit
def _sort_entries(width, count, s):  # type: ignore[no-untyped-def]
    """Two stable counting sorts: entries by node, then transitions by (target, source, time)."""
    at = 0
    for k in range(count):
        s.begin[k] = at
        at += s.count[k]
    for i in range(width):
        k = s.local[i]
        s.order[s.begin[k]] = i
        s.begin[k] += 1  # Now its end; _node_rows reads it so.
    s.into[:count] = s.count[:count]
    s.into[s.local[0]] -= 1  # The first frame ends no transition.
    at = 0
    for k in range(count):
        s.row[k] = at
        at += s.into[k]
    for p in range(width):
        i = s.order[p]
        if i < width - 1:
            k = s.local[i + 1]
            s.trans[s.row[k]] = i
            s.row[k] += 1


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
            source, first = s.local[s.trans[p]], p
            p += 1
            while p < end and s.local[s.trans[p]] == source:
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
        early += s.sums[k, _EARLY]
        if not ids.known[s.code_of[k]]:
            novel += s.count[k]
    per_frame, per_index, per_node = 1.0 / width, 1.0 / (width - 1), 1.0 / count
    for k in range(count):
        sums, code, number, row = s.sums[k], s.code_of[k], float(s.count[k]), out.x[base + k]
        per_timed, per_compared = 1.0 / (sums[_TIMED] + usual.prior), 1.0 / (sums[_COMPARED] + usual.prior)
        per_data = 1.0 / max(sums[_WITH_DATA], 1.0)
        row[0] = number * per_frame
        row[1] = 0.0
        if ids.known[code]:
            ratio = math.log((number + 0.5) / (duration * ids.rate[code] + 0.5))
            row[1] = min(max(ratio, -usual.clip), usual.clip)
        row[2] = sums[_RATIO] * per_timed
        row[3] = sums[_EARLY] * per_frame
        row[4] = sums[_EARLY] * per_timed
        row[5] = sums[_LATE] * per_timed
        row[6] = sums[_DEV] * per_compared
        row[7] = sums[_ABS] * per_compared
        row[8] = sums[_OUTSIDE] / (sums[_BYTES] + 4.0 * usual.prior)
        row[9] = sums[_DLC_NEW] / (number + usual.prior)
        row[10] = not ids.known[code]
        row[11] = s.in_edges[k] * per_node
        row[12] = s.out_edges[k] * per_node
        row[13] = sums[_FIRST] * per_index
        row[14] = sums[_LAST] * per_index
        row[15] = sums[_ENTROPY] * per_data
        row[16] = load
        row[17] = missing
        row[18] = novel * per_frame
        row[19] = early * per_frame
        row[20] = 0.0
        if s.count[k] > 1:
            row[20] = math.log(max(s.median[k], usual.min_time)) * _PER_LN_10
        for j in range(8):
            row[21 + j] = s.bytes[k, j] * (per_data / 255.0)
        row[29] = sums[_DLC] / (8.0 * number)
        out.node_id[base + k] = ids.key[code]
        out.node_y[base + k] = sums[_ATTACK] > 0


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

    For the whole window at once: handing the arrays over per node cost 20 ns a frame, a quarter of the pass.
    """
    first = 0
    for k in range(count):
        number, end = s.count[k] - 1, s.begin[k]
        if number <= 2:  # Two gaps need no order, and most IDs send no more.
            s.median[k] = (t[a + s.order[end - 1]] - t[a + s.order[first]]) / max(number, 1)
        else:
            for q in range(number):
                gap = t[a + s.order[first + q + 1]] - t[a + s.order[first + q]]
                at = q
                while number <= 64 and at > 0 and s.gaps[at - 1] > gap:
                    s.gaps[at] = s.gaps[at - 1]
                    at -= 1
                s.gaps[at] = gap
            if number > 64:  # Insertion is quadratic, and a flood sends hundreds.
                s.gaps[:number].sort()
            s.median[k] = 0.5 * (s.gaps[(number - 1) // 2] + s.gaps[number // 2])
        first = end


@_jit
def _label(f, a, b, count, min_attack_frames, votes, g, out, s):  # type: ignore[no-untyped-def]
    """Window label, and the most frequent family in it (the first by code on a tie; −1 if benign)."""
    attacks = 0.0
    for k in range(count):
        attacks += s.sums[k, _ATTACK]
    out.y[g] = attacks >= min_attack_frames
    out.attack[g] = -1
    if attacks < min_attack_frames or len(votes) == 0:
        return
    votes[:] = 0
    for i in range(a, b):
        if f.attack[i] >= 0:
            votes[f.attack[i]] += 1
    best = np.argmax(votes)
    if votes[best] > 0:
        out.attack[g] = best
