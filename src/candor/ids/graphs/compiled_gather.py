"""Graphs of a store copied side by side into a batch, compiled; ``GraphStore.gather`` calls it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
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


# No reference counts: see graphs.compiled.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "_nrt": False}
_jit = njit(**_OPTIONS)


@_jit
def _copy(to, at, source, first, count):  # type: ignore[no-untyped-def]
    # Unsigned indices: Numba need not look for negative ones, and the loop becomes a plain block copy.
    a, f = np.uint64(at), np.uint64(first)
    for i in range(np.uint64(count)):
        to[a + i] = source[f + i]


@_jit
def _copy_shifted(to, at, source, first, count, shift):  # type: ignore[no-untyped-def]
    a, f = np.uint64(at), np.uint64(first)
    for i in range(np.uint64(count)):
        to[a + i] = source[f + i] + shift


@_jit
def place(index_B, view, some, node_ptr, edge_ptr, graphs_B, ptr):  # type: ignore[no-untyped-def]
    """Graphs of the store at these positions of a view, and the first node of each in the batch; returns nodes and edges.

    ``some``: ``view`` says which graphs are seen, else all are. Negative positions count from the end; −1 nodes: one lies
    outside.
    """
    count = len(view) if some else len(node_ptr) - 1
    nodes = edges = 0
    ptr[0] = 0
    for k in range(len(index_B)):
        at = index_B[k] + (count if index_B[k] < 0 else 0)
        if at < 0 or at >= count:
            return -1, 0
        g = view[at] if some else at
        graphs_B[k] = g
        nodes += node_ptr[g + 1] - node_ptr[g]
        edges += edge_ptr[g + 1] - edge_ptr[g]
        ptr[k + 1] = nodes
    return nodes, edges


@_jit
def gather(graphs_B, ptr, columns, edge_columns, s, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` with the graphs, edges numbered across the batch."""
    q = 0
    for k in range(len(graphs_B)):
        g, p = graphs_B[k], ptr[k]
        first, count = s.node_ptr[g], s.node_ptr[g + 1] - s.node_ptr[g]
        _copy(out.x, p * columns, s.x, first * columns, count * columns)
        _copy(out.node_id, p, s.node_id, first, count)
        _copy(out.node_y, p, s.node_y, first, count)
        for i in range(count):
            out.graph_of_node[p + i] = k
        first, count = s.edge_ptr[g], s.edge_ptr[g + 1] - s.edge_ptr[g]
        _copy(out.edge_attr, q * edge_columns, s.edge_attr, first * edge_columns, count * edge_columns)
        for end in range(2):
            _copy_shifted(out.edge_index[end], q, s.edge_index[end], first, count, p)
        q += count
        out.y[k], out.attack[k] = s.y[g], s.attack[g]
