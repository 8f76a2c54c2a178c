"""Windows of events to packed graphs. An event is (time, source, target, quantities, label), whatever the domain.

The CAN builder (kernels.py) is the compiled special case in which an event is a transition between two frames; a test
holds both to the same edges. Nodes are numbered by first appearance in their window (the source of an event before its
target), edges are sorted by (target, source), as there.

Legend: n events, G windows, M entries (window × event), N nodes, E edges, U distinct nodes of the capture, Q quantities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """Events of one capture in order of time.

    Attributes:
        t_n: s since the first. source_n, target_n: codes of the ends, 0..U−1. quantity_nQ: f64.
        y_n: u8. attack_n: i16 index into attack_names, −1 benign.
    """

    t_n: F64
    source_n: I64
    target_n: I64
    quantity_nQ: F64
    y_n: npt.NDArray[np.uint8]
    attack_n: npt.NDArray[np.int16]
    attack_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.t_n)


@dataclass(frozen=True)
class Entries:
    """Every event of every window, window by window.

    Attributes:
        event_M: index of the event. window_M: its window. place_M: index inside the window.
        width_G: events of each window. first_G: first entry of each window.
        node_2M: node of source and target, counted over all windows. node_code_N, node_window_N: what they are.
        node_counts_G: nodes of each window. first_node_G: first of them.
    """

    event_M: I64
    window_M: I64
    place_M: I64
    width_G: I64
    node_2M: I64
    node_code_N: I64
    node_window_N: I64
    node_counts_G: I64
    first_node_G: I64


def entries(events: Events, start_G: I64, stop_G: I64) -> Entries:
    """Lay out the windows ``[start, stop)`` and number their nodes."""
    width_G = (stop_G - start_G).astype(np.int64)
    first_G = np.cumsum(width_G) - width_G
    window_M = np.repeat(np.arange(len(width_G)), width_G)
    place_M = np.arange(int(width_G.sum())) - first_G[window_M]
    event_M = start_G[window_M] + place_M
    # Source, target, source, target, …: the order in which hosts appear.
    code_2M = np.stack([events.source_n[event_M], events.target_n[event_M]], axis=1).ravel()
    size = int(code_2M.max(initial=-1)) + 1
    key_2M = np.repeat(window_M, 2) * max(size, 1) + code_2M
    key_N, at_N, which_2M = np.unique(key_2M, return_index=True, return_inverse=True)
    order = np.argsort(at_N)  # By first appearance; windows lie one after the other, so they stay together.
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    node_window_N = (key_N // max(size, 1))[order]
    node_counts_G = np.bincount(node_window_N, minlength=len(width_G))
    return Entries(
        event_M=event_M,
        window_M=window_M,
        place_M=place_M,
        width_G=width_G,
        node_2M=rank[which_2M].reshape(-1, 2).T,
        node_code_N=(key_N % max(size, 1))[order],
        node_window_N=node_window_N,
        node_counts_G=node_counts_G,
        first_node_G=np.cumsum(node_counts_G) - node_counts_G,
    )


@dataclass(frozen=True)
class Edges:
    """Edges of all windows: i32 local ends [2, E], f32 attributes [E, 11], how many per window; edge of each entry."""

    index_2E: npt.NDArray[np.int32]
    attr_E11: npt.NDArray[np.float32]
    counts_G: I64
    ends_2E: I64


def edges(events: Events, e: Entries) -> Edges:
    """Events of one ordered pair inside a window joined to an edge, with the eleven features of EDGE_FEATURES."""
    nodes = max(len(e.node_code_N), 1)
    source_M, target_M = e.node_2M
    key_M = (
        target_M * nodes + source_M
    )  # Node numbers grow with windows, so this sorts by (window, target, source).
    key_E, which_M, count_E = np.unique(key_M, return_inverse=True, return_counts=True)
    source_E, target_E = key_E % nodes, key_E // nodes
    window_E = e.node_window_N[target_E]
    order = np.argsort(which_M, kind="stable")
    begin_E = np.cumsum(count_E) - count_E
    first_E, last_E = order[begin_E], order[begin_E + count_E - 1]
    mean_E, std_E = _intervals(events.t_n[e.event_M[order]], which_M[order], count_E)
    many_E = count_E > 1
    degree_N = np.bincount(source_M, minlength=nodes) + np.bincount(target_M, minlength=nodes)
    out_E, in_E = degree_N[source_E].astype(np.float64), degree_N[target_E].astype(np.float64)
    events_E = e.width_G[window_E].astype(np.float64)
    last_index_E = np.maximum(events_E - 1, 1)
    first_at_E, last_at_E = e.place_M[first_E] / last_index_E, e.place_M[last_E] / last_index_E
    reverse_E = np.isin(source_E * nodes + target_E, key_E)
    columns = (
        *(count_E, count_E / events_E, mean_E, std_E, np.where(many_E, 1 / (1 + 1e3 * std_E), 0.0)),
        *(first_at_E, last_at_E, last_at_E - first_at_E, reverse_E, out_E * in_E, out_E / in_E),
    )
    local_2E = np.stack([source_E, target_E]) - e.first_node_G[window_E]
    return Edges(
        index_2E=local_2E.astype(np.int32),
        attr_E11=np.stack(columns, axis=1).astype(np.float32),
        counts_G=np.bincount(window_E, minlength=len(e.width_G)).astype(np.int64),
        ends_2E=np.stack([source_E, target_E]),
    )


def _intervals(t_M: F64, edge_M: I64, count_E: I64) -> tuple[F64, F64]:
    """Mean and population deviation of the times between an edge's events; 0 below two. Sorted by edge."""
    same = edge_M[1:] == edge_M[:-1]
    gap, of = np.diff(t_M)[same], edge_M[1:][same]
    number_E = np.maximum(count_E - 1, 1)
    mean_E = np.bincount(of, gap, len(count_E)) / number_E
    std_E = np.sqrt(np.bincount(of, (gap - mean_E[of]) ** 2, len(count_E)) / number_E)
    return mean_E, std_E


def window_labels(
    events: Events, e: Entries, min_attack_events: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """y and most frequent family of each window (the first by code on a tie), and which nodes open an attack event."""
    y_M = events.y_n[e.event_M].astype(np.float64)
    y_G = np.bincount(e.window_M, y_M, len(e.width_G)) >= min_attack_events
    families = max(len(events.attack_names), 1)
    code_M = events.attack_n[e.event_M].astype(np.int64)
    named = code_M >= 0
    votes = np.bincount(e.window_M[named] * families + code_M[named], minlength=len(e.width_G) * families)
    votes_GF = votes.reshape(-1, families)
    attack_G = np.where(y_G & (votes_GF.max(axis=1, initial=0) > 0), votes_GF.argmax(axis=1), -1)
    node_y_N = np.bincount(e.node_2M[0], y_M, len(e.node_code_N)) > 0
    return y_G.astype(np.uint8), attack_G.astype(np.int16), node_y_N.astype(np.uint8)
