"""Windows of flows to graphs in NumPy, readably: what the compiled pass is held to.

Legend: n flows, G windows, M entries, N nodes, Q quantities, D node features.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.event_graphs import F64, I64, Entries, edges, entries, window_labels
from candor.ids.graphs.flow_features import HOST_FEATURES, VIEWS
from candor.ids.graphs.flow_graphs import MIN_WINDOW_S, PROTOCOLS, FlowStream
from candor.ids.graphs.packed import PackedGraphs


def build_flow_windows(
    stream: FlowStream, start_G: I64, stop_G: I64, min_attack_flows: int = 1
) -> PackedGraphs:
    """See flow_graphs.build_flow_windows."""
    events = stream.events
    e = entries(events, start_G, stop_G)
    # Without times there are no intervals; row numbers would make some up.
    made = edges(events if stream.timed else replace(events, t_n=np.zeros(len(events))), e)
    y_G, attack_G, node_y_N = window_labels(events, e, min_attack_flows)
    return PackedGraphs(
        node_counts_G=e.node_counts_G,
        edge_counts_G=made.counts_G,
        node_id_N=e.node_code_N.astype(np.uint32),
        x_ND=_host_columns(stream, e, made.ends_2E, start_G, stop_G).astype(np.float32),
        edge_index_2E=made.index_2E,
        edge_attr_E11=made.attr_E11,
        y_G=y_G,
        attack_G=attack_G,
        node_y_N=node_y_N,
        start_G=start_G,
        t0_G=events.t_n[start_G],
        t1_G=events.t_n[stop_G - 1],
    )


def _host_columns(stream: FlowStream, e: Entries, ends_2E: I64, start_G: I64, stop_G: I64) -> F64:
    """Node features [N, D] in the order of ``flow_features``."""
    nodes = len(e.node_code_N)
    source_M, target_M = e.node_2M
    flows_N = e.width_G[e.node_window_N].astype(np.float64)
    peers_N = e.node_counts_G[e.node_window_N].astype(np.float64)
    out_N, in_N = (np.bincount(end, minlength=nodes).astype(np.float64) for end in (source_M, target_M))
    per_out, per_in = 1 / np.maximum(out_N, 1), 1 / np.maximum(in_N, 1)
    port_M, proto_M = stream.port_n[e.event_M], stream.proto_n[e.event_M]

    def share(chosen_M: npt.NDArray[np.bool_]) -> F64:
        return np.asarray(np.bincount(source_M, chosen_M, nodes) * per_out)

    place_N = np.maximum(flows_N - 1, 1)
    first, last = _places(e, nodes)
    host = (
        *(out_N / flows_N, in_N / flows_N),
        *(np.bincount(end, minlength=nodes) / peers_N for end in ends_2E),
        *(_distinct(source_M, port_M, nodes) * per_out, _distinct(target_M, port_M, nodes) * per_in),
        share((port_M >= 0) & (port_M < 1024)),
        *(share(np.isin(proto_M, numbers)) for numbers in PROTOCOLS),
        *(first / place_N, last / place_N),
        *(column[e.node_window_N] for column in _window_columns(stream, e, start_G, stop_G)),
    )
    assert len(host) == len(HOST_FEATURES)  # One column for each line of the table.
    quantity_MQ = stream.events.quantity_nQ[e.event_M]
    views = _views(quantity_MQ, source_M, target_M, nodes, per_out, per_in)
    return np.concatenate([np.stack(host, axis=1), views], axis=1)


def _window_columns(stream: FlowStream, e: Entries, start_G: I64, stop_G: I64) -> tuple[F64, F64]:
    t = stream.events.t_n
    seconds = np.maximum(t[stop_G - 1] - t[start_G], MIN_WINDOW_S)
    rate = np.log(e.width_G / seconds) if stream.timed else np.zeros(len(start_G))
    return rate, e.node_counts_G / (2.0 * e.width_G)


def _places(e: Entries, nodes: int) -> tuple[F64, F64]:
    """Index of the first and last flow that each host takes part in, inside its window."""
    first, last = np.full(nodes, np.iinfo(np.int64).max), np.zeros(nodes, np.int64)
    for end_M in e.node_2M:
        np.minimum.at(first, end_M, e.place_M)
        np.maximum.at(last, end_M, e.place_M)
    return first.astype(np.float64), last.astype(np.float64)


def _distinct(node_M: I64, value_M: I64, nodes: int) -> F64:
    """Distinct values among the entries of each node."""
    pairs = np.unique(node_M * (1 << 17) + (value_M + 1))
    return np.bincount(pairs >> 17, minlength=nodes).astype(np.float64)


def _views(quantity_MQ: F64, source_M: I64, target_M: I64, nodes: int, per_out: F64, per_in: F64) -> F64:
    """For every quantity: mean and maximum over the flows a host opens, mean over those it receives; 0 without."""
    columns = []
    order = np.argsort(source_M, kind="stable")
    has, begin = np.unique(source_M[order], return_index=True)
    for quantity_M in quantity_MQ.T:
        largest = np.zeros(nodes)
        if len(begin):
            largest[has] = np.maximum.reduceat(quantity_M[order], begin)
        by_view = {
            "out_mean": np.bincount(source_M, quantity_M, nodes) * per_out,
            "out_max": largest,
            "in_mean": np.bincount(target_M, quantity_M, nodes) * per_in,
        }
        columns += [by_view[view] for view in VIEWS]
    return np.stack(columns, axis=1) if columns else np.zeros((nodes, 0))
