"""Graphs of many windows, one after the other: what kernels write and return, and the store keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.features import EDGE_NAMES
from candor.learn.reuse import Buffers

# G windows, N nodes, E edges, D node features

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackedGraphs:
    """G graphs, one after the other. Dtypes and shapes as in the GraphStore, node and edge numbers per graph.

    Attributes:
        node_counts_G, edge_counts_G: i64. node_id_N: u32 keys. x_ND: f32 unscaled. edge_index_2E: i32 local.
        edge_attr_E11: f32. y_G: u8. attack_G: i16 index into the capture's attack names, −1 benign. node_y_N: u8.
        start_G: i64 first frame. t0_G, t1_G: f64 s of the first and last frame.
    """

    node_counts_G: I64
    edge_counts_G: I64
    node_id_N: npt.NDArray[np.uint32]
    x_ND: npt.NDArray[np.float32]
    edge_index_2E: npt.NDArray[np.int32]
    edge_attr_E11: npt.NDArray[np.float32]
    y_G: npt.NDArray[np.uint8]
    attack_G: npt.NDArray[np.int16]
    node_y_N: npt.NDArray[np.uint8]
    start_G: I64
    t0_G: F64
    t1_G: F64

    def __len__(self) -> int:
        return len(self.y_G)


class Packed(NamedTuple):
    """Where a compiled pass writes graphs; rows for the worst case, of which the first N and E are used."""

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


@dataclass(frozen=True)
class Room:
    """Memory for the graphs of some windows. ``out`` is what the pass takes; its ends are the rows of ``ends_2E``."""

    ends_2E: npt.NDArray[np.int32]
    out: Packed

    def taken(self, nodes: int, edges: int, start_G: I64, stop_G: I64, t_n: F64) -> PackedGraphs:
        """The graphs of the windows ``[start, stop)``, whose ``nodes`` and ``edges`` a pass wrote. ``t_n``: s."""
        out = self.out
        return PackedGraphs(
            node_counts_G=out.node_counts,
            edge_counts_G=out.edge_counts,
            node_id_N=out.node_id[:nodes],
            x_ND=out.x[:nodes],
            edge_index_2E=self.ends_2E[:, :edges],
            edge_attr_E11=out.edge_attr[:edges],
            y_G=out.y,
            attack_G=out.attack,
            node_y_N=out.node_y[:nodes],
            start_G=start_G,
            t0_G=t_n[start_G],
            t1_G=t_n[stop_G - 1],
        )


def make_room(graphs: int, nodes: int, edges: int, features: int, into: Buffers) -> Room:
    """Room for ``graphs`` graphs of at most ``nodes`` nodes with ``features`` features and ``edges`` edges in all."""
    ends_2E = into.empty("ends", (2, edges), np.int32)
    out = Packed(
        node_counts=into.empty("node_counts", (graphs,), np.int64),
        edge_counts=into.empty("edge_counts", (graphs,), np.int64),
        node_id=into.empty("node_id", (nodes,), np.uint32),
        x=into.empty("x", (nodes, features), np.float32),
        source=ends_2E[0],
        target=ends_2E[1],
        edge_attr=into.empty("edge_attr", (edges, len(EDGE_NAMES)), np.float32),
        y=into.empty("y", (graphs,), np.uint8),
        attack=into.empty("attack", (graphs,), np.int16),
        node_y=into.empty("node_y", (nodes,), np.uint8),
    )
    return Room(ends_2E, out)
