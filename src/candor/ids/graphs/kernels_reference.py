"""Windows of one capture to packed graphs: the readable NumPy reference that tests hold the compiled kernel against.

Vectorised over all windows given. Entries are (window, position) pairs, M = G·W of them. Everything is a reduction of entries by node, or of transitions
by edge, after one stable sort each. Nodes are numbered by first appearance inside their window, so that numbering
does not depend on what the IDs are; edges are sorted by (target, source), as message passing reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.features import EDGE_NAMES, LOG_CLIP, NODE_NAMES, PRIOR_FRAMES
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.stream import MIN_TIME_S
from candor.ids.graphs.stream import Relative as Packed
from candor.ids.graphs.stream import Stream as Capture
from candor.ids.graphs.stream_reference import RelativeColumns, StreamColumns

# n frames, G windows, W window_frames, M = G·W entries, N nodes, E edges, D node features, P profile IDs

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Stream = Capture | StreamColumns
Relative = Packed | RelativeColumns


@dataclass(frozen=True)
class _Nodes:
    """Entries grouped by (window, ID).

    Attributes:
        node_GW: node of each entry. order_M: entries sorted by ID group, time inside. head_M: first of its group.
        node_of_M: node of each sorted entry. count_N, window_N, code_N, first_N, last_N (positions in the window).
        ptr: i64[G+1].
    """

    node_GW: I64
    order_M: I64
    head_M: npt.NDArray[np.bool_]
    node_of_M: I64
    count_N: I64
    window_N: I64
    code_N: npt.NDArray[np.uint32]
    first_N: I64
    last_N: I64
    ptr: I64


@dataclass(frozen=True)
class _Edges:
    """Transitions grouped by (source, target); nodes numbered across windows."""

    source_E: I64
    target_E: I64
    attr_E11: F64


def build_windows(
    stream: Stream, relative: Relative, start_G: I64, *, window_frames: int, min_attack_frames: int = 1
) -> PackedGraphs:
    """Graphs of the windows that begin at ``start_G`` (each ``window_frames`` long and inside the stream).

    Memory grows with G·W (about 0.5 kB per entry): callers hand over blocks of windows.
    """
    num_graphs = len(start_G)
    pos = start_G[:, None] + np.arange(window_frames)
    nodes = _group_nodes(stream, pos)
    edges = _group_edges(stream, pos, nodes)
    x_ND = _node_features(stream, relative, pos, nodes, edges)
    attack_N = np.bincount(
        nodes.node_GW.ravel(), weights=stream.y_n[pos.ravel()], minlength=len(nodes.count_N)
    )
    y_G, attack_G = _labels(stream, pos, min_attack_frames)
    offset_E = nodes.ptr[nodes.window_N[edges.source_E]]
    return PackedGraphs(
        node_counts_G=np.diff(nodes.ptr),
        edge_counts_G=np.bincount(nodes.window_N[edges.source_E], minlength=num_graphs),
        node_id_N=stream.key_U[nodes.code_N],
        x_ND=x_ND.astype(np.float32),
        edge_index_2E=np.stack([edges.source_E - offset_E, edges.target_E - offset_E]).astype(np.int32),
        edge_attr_E11=edges.attr_E11.astype(np.float32),
        y_G=y_G,
        attack_G=attack_G,
        node_y_N=(attack_N > 0).astype(np.uint8),
        start_G=start_G,
        t0_G=stream.t_n[pos[:, 0]],
        t1_G=stream.t_n[pos[:, -1]],
    )


def _group_nodes(stream: Stream, pos_GW: I64) -> _Nodes:
    num_graphs, width = pos_GW.shape
    group = (np.arange(num_graphs)[:, None] * len(stream.key_U) + stream.code_n[pos_GW]).ravel()
    order = np.argsort(group, kind="stable")
    sorted_group = group[order]
    head = np.ones(len(group), bool)
    head[1:] = sorted_group[1:] != sorted_group[:-1]
    first_entry = order[head]
    # Entries are numbered by window, then position: sorting groups by first entry numbers nodes by first appearance.
    rank = np.argsort(first_entry)
    node_of_group = np.empty(len(rank), np.int64)
    node_of_group[rank] = np.arange(len(rank))
    node_of = node_of_group[np.cumsum(head) - 1]
    node = np.empty(len(group), np.int64)
    node[order] = node_of
    last_entry = order[np.r_[np.flatnonzero(head)[1:] - 1, len(group) - 1]] if len(group) else first_entry
    window = first_entry[rank] // width
    return _Nodes(
        node_GW=node.reshape(num_graphs, width),
        order_M=order,
        head_M=head,
        node_of_M=node_of,
        count_N=np.bincount(node, minlength=len(rank)),
        window_N=window,
        code_N=stream.code_n[pos_GW.ravel()[first_entry[rank]]],
        first_N=first_entry[rank] % width,
        last_N=last_entry[rank] % width,
        ptr=np.r_[0, np.cumsum(np.bincount(window, minlength=num_graphs))],
    )


def _group_edges(stream: Stream, pos_GW: I64, nodes: _Nodes) -> _Edges:
    width, num_nodes = pos_GW.shape[1], len(nodes.count_N)
    source, target = nodes.node_GW[:, :-1].ravel(), nodes.node_GW[:, 1:].ravel()
    t = stream.t_n[pos_GW[:, 1:]].ravel()  # A transition happens when its second frame arrives.
    index = np.broadcast_to(np.arange(width - 1), (len(pos_GW), width - 1)).ravel()
    group = target * num_nodes + source
    order = np.argsort(group, kind="stable")
    sorted_group = group[order]
    head = np.ones(len(group), bool)
    head[1:] = sorted_group[1:] != sorted_group[:-1]
    edge = np.cumsum(head) - 1
    begin = np.flatnonzero(head)
    end = np.r_[begin[1:] - 1, len(group) - 1] if len(group) else begin
    unique = sorted_group[begin]
    edge_source, edge_target = unique % num_nodes, unique // num_nodes
    count = np.bincount(edge, minlength=len(begin)).astype(np.float64)
    mean, std = _intervals(t[order], head, edge, count)
    degree = np.bincount(source, minlength=num_nodes) + np.bincount(target, minlength=num_nodes)
    last_index = max(width - 2, 1)
    first, last = index[order[begin]] / last_index, index[order[end]] / last_index
    reverse = np.isin(edge_source * num_nodes + edge_target, unique, kind="sort")
    out, into = degree[edge_source].astype(np.float64), degree[edge_target].astype(np.float64)
    columns = {
        "count": count,
        "frequency": count / (width - 1),
        "interval_mean": mean,
        "interval_std": std,
        "regularity": np.where(count >= 2, 1.0 / (1.0 + 1e3 * std), 0.0),
        "first_position": first,
        "last_position": last,
        "span": last - first,
        "reverse": reverse,
        "degree_product": out * into,
        "degree_ratio": out / into,
    }
    return _Edges(edge_source, edge_target, _table(columns, EDGE_NAMES, len(begin)))


def _intervals(t_sorted: F64, head: npt.NDArray[np.bool_], edge: I64, count_E: F64) -> tuple[F64, F64]:
    """Mean and population std of the times between occurrences of each edge; 0 below two occurrences."""
    within = ~head[1:]
    delta, of = np.diff(t_sorted)[within], edge[1:][within]
    number = np.maximum(count_E - 1, 1)
    mean = np.bincount(of, weights=delta, minlength=len(count_E)) / number
    # Two passes: E[x²] − E[x]² cancels for intervals that are nearly equal.
    variance = np.bincount(of, weights=(delta - mean[of]) ** 2, minlength=len(count_E)) / number
    return mean, np.sqrt(variance)


def _node_features(stream: Stream, rel: Relative, pos_GW: I64, nodes: _Nodes, edges: _Edges) -> F64:
    num_nodes, width = len(nodes.count_N), pos_GW.shape[1]
    entry, frame = nodes.node_GW.ravel(), pos_GW.ravel()
    count = nodes.count_N.astype(np.float64)

    def total(values_n: npt.NDArray[np.generic]) -> F64:
        return np.bincount(entry, weights=values_n[frame], minlength=num_nodes).astype(np.float64, copy=False)

    def mean_over(values_n: npt.NDArray[np.generic], number_N: F64) -> F64:
        return total(values_n) / np.maximum(number_N, 1.0)

    def shrunk(values_n: npt.NDArray[np.generic], number_N: F64) -> F64:
        return total(values_n) / (number_N + PRIOR_FRAMES)

    timed, compared, with_data = total(rel.timed_n), total(rel.compared_n), total(stream.has_data_n)
    known = rel.known_U[nodes.code_N]
    duration = np.maximum(stream.t_n[pos_GW[:, -1]] - stream.t_n[pos_GW[:, 0]], 0.0)
    expected = duration[nodes.window_N] / rel.median_U[nodes.code_N]
    rate = np.clip(np.log((count + 0.5) / (expected + 0.5)), -LOG_CLIP, LOG_CLIP)
    graph_nodes = np.diff(nodes.ptr)[nodes.window_N].astype(np.float64)
    window = _window_features(stream, rel, pos_GW, nodes, duration)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "share": count / width,
        "rate_log_ratio": np.where(known, rate, 0.0),
        "interval_log_ratio_mean": shrunk(np.where(rel.timed_n, rel.log_ratio_n, 0.0), timed),
        "early_density": total(rel.early_n) / width,
        "early_share": shrunk(rel.early_n, timed),
        "late_share": shrunk(rel.late_n, timed),
        "payload_change": shrunk(rel.deviation_n, compared),
        "payload_change_abs": shrunk(np.abs(rel.deviation_n), compared),
        "byte_novelty": shrunk(rel.outside_n / 4.0, total(rel.bytes_n) / 4.0),
        "dlc_novel": shrunk(rel.dlc_new_n, count),
        "id_novel": ~known,
        "in_degree": np.bincount(edges.target_E, minlength=num_nodes) / graph_nodes,
        "out_degree": np.bincount(edges.source_E, minlength=num_nodes) / graph_nodes,
        "first_position": nodes.first_N / (width - 1),
        "last_position": nodes.last_N / (width - 1),
        "byte_entropy": mean_over(np.where(stream.has_data_n, stream.entropy_n, 0.0), with_data),
        "log10_interval": _log10_interval(stream, frame, nodes),
        "dlc_mean": mean_over(np.minimum(stream.dlc_n, 64) / 8.0, count),
    }
    columns |= {name: values_G[nodes.window_N] for name, values_G in window.items()}
    payload_n8 = np.where(np.arange(8) < stream.size_n[:, None], stream.data_n8, 0) / 255.0
    columns |= {f"byte_{i}_mean": mean_over(payload_n8[:, i], with_data) for i in range(8)}
    return _table(columns, NODE_NAMES, num_nodes)


def _window_features(
    stream: Stream, rel: Relative, pos_GW: I64, nodes: _Nodes, duration_G: F64
) -> dict[str, F64]:
    num_graphs, width = pos_GW.shape
    profile = rel.profile
    load = np.zeros(num_graphs)
    if profile.frames_per_s > 0:
        usual = (width - 1) / profile.frames_per_s
        load = np.clip(np.log(usual / np.maximum(duration_G, MIN_TIME_S)), -LOG_CLIP, LOG_CLIP)
    row_U, known_U = profile.lookup(stream.key_U)
    arrived_GP = np.zeros((num_graphs, len(profile.key_P)))
    known = known_U[nodes.code_N]
    arrived_GP[nodes.window_N[known], row_U[nodes.code_N[known]]] = nodes.count_N[known]
    expected_GP = np.minimum(duration_G[:, None] / profile.median_interval_s_P, width)
    absent = np.maximum(expected_GP - arrived_GP - 1.0, 0.0).sum(axis=1)
    expected = expected_GP.sum(axis=1)
    return {
        "window_load": load,
        "window_missing": np.where(expected > 0, absent / np.where(expected > 0, expected, 1.0), 0.0),
        "window_novel_share": 1.0 - rel.known_n[pos_GW].mean(axis=1),
        "window_early_share": rel.early_n[pos_GW].mean(axis=1),
    }


def _log10_interval(stream: Stream, frame_M: I64, nodes: _Nodes) -> F64:
    """log10 of the median time between a node's frames inside its window; 0 below two frames."""
    result = np.zeros(len(nodes.count_N))
    within = ~nodes.head_M[1:]
    delta = np.diff(stream.t_n[frame_M[nodes.order_M]])[within]
    of = nodes.node_of_M[1:][within]
    order = np.lexsort((delta, of))
    delta = delta[order]
    number = nodes.count_N - 1
    has = number > 0
    begin = (np.cumsum(number) - number)[has]
    number = number[has]
    median = 0.5 * (delta[begin + (number - 1) // 2] + delta[begin + number // 2])
    result[has] = np.log10(np.maximum(median, MIN_TIME_S))
    return result


def _labels(
    stream: Stream, pos_GW: I64, min_attack_frames: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
    """Window label, and the most frequent attack family in it (the first by code on a tie; −1 if benign)."""
    attacks = stream.y_n[pos_GW].sum(axis=1, dtype=np.int64)
    y = attacks >= min_attack_frames
    families = len(stream.attack_names)
    if not families:
        return y.astype(np.uint8), np.full(len(y), -1, np.int16)
    votes = np.stack([(stream.attack_n[pos_GW] == c).sum(axis=1) for c in range(families)], axis=1)
    family = np.where(y & (votes.max(axis=1) > 0), votes.argmax(axis=1), -1)
    return y.astype(np.uint8), family.astype(np.int16)


def _table(
    columns: dict[str, npt.NDArray[np.generic]] | dict[str, F64], names: tuple[str, ...], rows: int
) -> F64:
    """Columns in the order of the feature table; a name missing on either side is a KeyError here, not a wrong model."""
    if set(columns) != set(names):
        raise KeyError(f"columns differ from the feature table: {sorted(set(columns) ^ set(names))}")
    table = np.empty((rows, len(names)))
    for i, name in enumerate(names):
        table[:, i] = columns[name]
    return table
