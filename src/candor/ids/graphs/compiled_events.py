"""One compiled pass over windows of events with explicit ends. Called through ``flow_graphs``; ``flow_reference`` and
``event_graphs`` say it readably, and tests hold both to the same bits.

All compiled functions of this pass live in this file, and what they need of other files is handed in: Numba's cache
notices a change of this file only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

# n events, G windows, U ends of the capture, W events of the longest window, K nodes of it, N nodes, E edges, Q quantities

#: Columns in the order this file writes them; ``flow_graphs`` refuses to start if the feature tables have another one.
HOST_ORDER = (
    *("out_flows", "in_flows", "out_peers", "in_peers", "out_ports", "in_ports", "out_low_ports"),
    *("out_tcp", "out_udp", "out_icmp", "first_position", "last_position", "window_rate", "window_hosts"),
)
VIEW_ORDER = ("out_mean", "out_max", "in_mean")
EDGE_ORDER = (
    *("count", "frequency", "interval_mean", "interval_std", "regularity", "first_position", "last_position"),
    *("span", "reverse", "degree_product", "degree_ratio"),
)
#: What ``Flows.proto`` holds.
OTHER, TCP, UDP, ICMP = 0, 1, 2, 3


class Flows(NamedTuple):
    """Per event (n each): t is 0 where there are no times; port −1 for none; quantity n×Q; attack −1 benign."""

    t: Any
    source: Any
    target: Any
    port: Any
    proto: Any
    quantity: Any
    y: Any
    attack: Any


class Scratch(NamedTuple):
    """One window at a time: per end (U), per event (W), per node (K); a table of at least 4 W slots, a power of two."""

    node_of_code: Any
    ends: Any
    order: Any
    sorted: Any
    code_of: Any
    place: Any
    count: Any
    begin: Any
    peers: Any
    sums: Any
    views: Any
    slot_key: Any
    slot_mark: Any


# Columns of Scratch.count and Scratch.sums.
_OUT, _IN, _OUT_PORTS, _IN_PORTS = 0, 1, 2, 3
_LOW, _TCP, _UDP, _ICMP, _ATTACK = 0, 1, 2, 3, 4

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def pack_events(f, start_G, stop_G, rate_G, min_attacks, families, out, s):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the graphs of all windows; returns N and E. ``rate_G``: the column window_rate."""
    nodes = edges = 0
    votes = np.zeros(max(families, 1), np.int64)
    for g in range(len(start_G)):
        a, width = start_G[g], stop_G[g] - start_G[g]
        count = _number_nodes(f, a, width, s)
        _sort_by_ends(width, count, s)
        made = _edges(f.t, a, width, count, edges, out, s)
        _count_ports(f.port, a, width, 2 * g + 1, s)
        _sum_quantities(f.quantity, a, width, count, s)
        _node_rows(width, count, rate_G[g], nodes, out, s)
        _label(f, a, width, min_attacks, votes[:families], g, out)
        out.node_counts[g], out.edge_counts[g] = count, made
        nodes += count
        edges += made
        for k in range(count):
            s.node_of_code[s.code_of[k]] = -1
    return nodes, edges


@_jit
def _number_nodes(f, a, width, s):  # type: ignore[no-untyped-def]
    """Number ends by first appearance, the source of an event before its target; count what their events are."""
    count = 0
    for i in range(width):
        for end in range(2):
            code = f.source[a + i] if end == 0 else f.target[a + i]
            k = s.node_of_code[code]
            if k < 0:
                k = count
                count += 1
                s.node_of_code[code] = k
                s.code_of[k] = code
                s.count[k, :] = 0
                s.peers[k, :] = 0
                s.sums[k, :] = 0
                s.place[k, 0] = i
            s.place[k, 1] = i
            s.count[k, end] += 1
            s.ends[end, i] = k
        row = s.sums[s.ends[0, i]]
        row[_LOW] += 0 <= f.port[a + i] < 1024
        row[_TCP] += f.proto[a + i] == TCP
        row[_UDP] += f.proto[a + i] == UDP
        row[_ICMP] += f.proto[a + i] == ICMP
        row[_ATTACK] += f.y[a + i]
    return count


@_jit
def _sort_by_ends(width, count, s):  # type: ignore[no-untyped-def]
    """Two stable counting sorts: events by (target, source, time) into ``s.sorted``."""
    at = 0
    for k in range(count):
        s.begin[k] = at
        at += s.count[k, _OUT]
    for i in range(width):
        k = s.ends[0, i]
        s.order[s.begin[k]] = i
        s.begin[k] += 1
    at = 0
    for k in range(count):
        s.begin[k] = at
        at += s.count[k, _IN]
    for p in range(width):
        k = s.ends[1, s.order[p]]
        s.sorted[s.begin[k]] = s.order[p]
        s.begin[k] += 1  # Now the end of the events into k.


@_jit
def _edges(t, a, width, count, base, out, s):  # type: ignore[no-untyped-def]
    """Edges of one window: runs of events with the same ends; returns how many."""
    last_index = max(width - 1, 1)
    e, p = base, 0
    for target in range(count):
        end = s.begin[target]
        s.begin[target] = e  # From here on: the first edge into this node.
        into = float(s.count[target, _OUT] + s.count[target, _IN])
        while p < end:
            source, first = s.ends[0, s.sorted[p]], p
            p += 1
            while p < end and s.ends[0, s.sorted[p]] == source:
                p += 1
            row, times = out.edge_attr[e], p - first
            row[0], row[1] = times, times / width
            _intervals(t, a, first, p, row, s)
            first_at, last_at = s.sorted[first] / last_index, s.sorted[p - 1] / last_index
            row[5], row[6], row[7] = first_at, last_at, last_at - first_at
            leaving = float(s.count[source, _OUT] + s.count[source, _IN])
            row[9], row[10] = leaving * into, leaving / into
            out.source[e], out.target[e] = source, target
            s.peers[source, _OUT] += 1
            s.peers[target, _IN] += 1
            e += 1
    # Edges come by (target, source), so the reverse of the next edge out of a node never lies before that of the
    # last: one cursor per node finds them all.
    for made in range(base, e):
        source, target = out.source[made], out.target[made]
        at = s.begin[source]
        while at < e and out.target[at] == source and out.source[at] < target:
            at += 1
        s.begin[source] = at
        out.edge_attr[made, 8] = at < e and out.target[at] == source and out.source[at] == target
    return e - base


@_jit
def _intervals(t, a, first, last, row, s):  # type: ignore[no-untyped-def]
    """Mean, deviation and regularity of the times between the events ``[first, last)`` of an edge; 0 for one event."""
    row[2] = row[3] = row[4] = 0.0
    gaps = last - first - 1
    if gaps < 1:
        return
    total = squares = 0.0
    for q in range(first, last - 1):
        total += t[a + s.sorted[q + 1]] - t[a + s.sorted[q]]
    mean = total / gaps
    for q in range(first, last - 1):
        squares += (t[a + s.sorted[q + 1]] - t[a + s.sorted[q]] - mean) ** 2
    std = math.sqrt(squares / gaps)
    row[2], row[3], row[4] = mean, std, 1 / (1 + 1e3 * std)


@_jit
def _count_ports(port, a, width, mark, s):  # type: ignore[no-untyped-def]
    """Distinct ports of each node's events, out and in. A slot counts as empty unless its mark is this window's."""
    mask = len(s.slot_key) - 1
    for i in range(width):
        for end in range(2):
            key = (s.ends[end, i] * 2 + end) * np.int64(1 << 17) + port[a + i] + 1
            at = (key * np.int64(0x9E3779B97F4A7C1) >> 20) & mask
            while s.slot_mark[at] == mark and s.slot_key[at] != key:
                at = (at + 1) & mask
            if s.slot_mark[at] != mark:
                s.slot_mark[at], s.slot_key[at] = mark, key
                s.count[s.ends[end, i], _OUT_PORTS + end] += 1


@_jit
def _sum_quantities(quantity, a, width, count, s):  # type: ignore[no-untyped-def]
    """Sum over events out, maximum over events out, sum over events in, of each quantity."""
    number = quantity.shape[1]
    for k in range(count):
        for q in range(number):
            s.views[k, 3 * q] = s.views[k, 3 * q + 2] = 0.0
            s.views[k, 3 * q + 1] = -np.inf if s.count[k, _OUT] else 0.0
    for i in range(width):
        source, target, own = s.views[s.ends[0, i]], s.views[s.ends[1, i]], quantity[a + i]
        for q in range(number):
            source[3 * q] += own[q]
            if own[q] > source[3 * q + 1] or own[q] != own[q]:  # Not a number stays: it must be seen.
                source[3 * q + 1] = own[q]
            target[3 * q + 2] += own[q]


@_jit
def _node_rows(width, count, rate, base, out, s):  # type: ignore[no-untyped-def]
    last_index = float(max(width - 1, 1))
    for k in range(count):
        row, counts, sums = out.x[base + k], s.count[k], s.sums[k]
        per_out, per_in = 1.0 / max(counts[_OUT], 1), 1.0 / max(counts[_IN], 1)
        row[0], row[1] = counts[_OUT] / width, counts[_IN] / width
        row[2], row[3] = s.peers[k, _OUT] / count, s.peers[k, _IN] / count
        row[4], row[5] = counts[_OUT_PORTS] * per_out, counts[_IN_PORTS] * per_in
        for column in range(4):
            row[6 + column] = sums[_LOW + column] * per_out
        row[10], row[11] = s.place[k, 0] / last_index, s.place[k, 1] / last_index
        row[12], row[13] = rate, count / (2.0 * width)
        for q in range(s.views.shape[1] // 3):
            row[14 + 3 * q] = s.views[k, 3 * q] * per_out
            row[15 + 3 * q] = s.views[k, 3 * q + 1]
            row[16 + 3 * q] = s.views[k, 3 * q + 2] * per_in
        out.node_id[base + k] = s.code_of[k]
        out.node_y[base + k] = sums[_ATTACK] > 0


@_jit
def _label(f, a, width, min_attacks, votes, g, out):  # type: ignore[no-untyped-def]
    """Window label, and the most frequent family in it (the first by code on a tie; −1 if benign)."""
    attacks = 0
    votes[:] = 0
    for i in range(a, a + width):
        attacks += f.y[i]
        if f.attack[i] >= 0:
            votes[f.attack[i]] += 1
    out.y[g] = attacks >= min_attacks
    out.attack[g] = -1
    if attacks >= min_attacks and len(votes) and votes.max() > 0:
        out.attack[g] = np.argmax(votes)
