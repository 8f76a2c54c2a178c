"""Graphs of many windows, one after the other: what kernels return and the store keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
