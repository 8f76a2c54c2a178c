"""Graphs of a store copied side by side into a batch, compiled; ``GraphStore.gather`` calls it."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import njit

# B graphs of the batch, N nodes, E edges


class Source(NamedTuple):
    """The store's arrays; x and edge_attr flat."""

    node_ptr: Any
    edge_ptr: Any
    x: Any
    node_id: Any
    edge_index: Any
    edge_attr: Any
    node_y: Any
    y: Any
    attack: Any


class Target(NamedTuple):
    """The batch; x and edge_attr flat, ptr filled already."""

    x: Any
    node_id: Any
    edge_index: Any
    edge_attr: Any
    node_y: Any
    graph_of_node: Any
    y: Any
    attack: Any


_jit = njit(nogil=True, cache=True)


@_jit
def gather(graphs_B, ptr, columns, edge_columns, s, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the graphs, edges numbered across the batch."""
    q = 0
    for k in range(len(graphs_B)):
        g, p = graphs_B[k], ptr[k]
        first, count = s.node_ptr[g], s.node_ptr[g + 1] - s.node_ptr[g]
        out.x[p * columns : (p + count) * columns] = s.x[first * columns : (first + count) * columns]
        for i in range(count):
            out.node_id[p + i] = s.node_id[first + i]
            out.node_y[p + i] = s.node_y[first + i]
            out.graph_of_node[p + i] = k
        first, count = s.edge_ptr[g], s.edge_ptr[g + 1] - s.edge_ptr[g]
        out.edge_attr[q * edge_columns : (q + count) * edge_columns] = s.edge_attr[
            first * edge_columns : (first + count) * edge_columns
        ]
        for end in range(2):
            for i in range(count):
                out.edge_index[end, q + i] = s.edge_index[end, first + i] + p
        q += count
        out.y[k], out.attack[k] = s.y[g], s.attack[g]
