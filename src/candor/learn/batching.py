"""Batches of graphs as tensors, and where they come from.

Legend: G graphs, B graphs in a batch, N nodes, E edges, D node features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data


class BatchSampler(Protocol):
    """Gives batches of graph indices for an epoch: BudgetSampler, or one that chooses graphs first."""

    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[list[int]]: ...


@runtime_checkable
class ArraySampler(Protocol):
    """A batch sampler that also gives its batches as i64 arrays, without a Python number per graph."""

    def arrays(self) -> Iterator[npt.NDArray[np.int64]]: ...


#: Positions of graphs in their source.
Positions = Sequence[int] | npt.NDArray[np.integer[Any]]


class PackedArrays(Protocol):
    """What a source gathers: see ids.graphs.store.PackedBatch."""

    @property
    def x_ND(self) -> npt.NDArray[np.float32]: ...
    @property
    def node_id_N(self) -> npt.NDArray[np.uint32]: ...
    @property
    def edge_index_2E(self) -> npt.NDArray[np.int64]: ...
    @property
    def edge_attr_E11(self) -> npt.NDArray[np.float32]: ...
    @property
    def graph_of_node_N(self) -> npt.NDArray[np.int64]: ...
    @property
    def ptr(self) -> npt.NDArray[np.int64]: ...
    @property
    def y_G(self) -> npt.NDArray[np.uint8]: ...
    @property
    def attack_G(self) -> npt.NDArray[np.int16]: ...
    @property
    def node_y_N(self) -> npt.NDArray[np.uint8]: ...
    @property
    def index_G(self) -> npt.NDArray[np.int64]: ...


class GraphSource(Protocol):
    """Where graphs come from; GraphStore is one."""

    @property
    def node_counts(self) -> npt.NDArray[np.int64]: ...
    @property
    def edge_counts(self) -> npt.NDArray[np.int64]: ...
    def gather(self, idx: Positions, /) -> PackedArrays: ...


class BufferSource(Protocol):
    """Gives arrays to gather into; what they hold is not defined."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]: ...


@runtime_checkable
class DirectSource(Protocol):
    """A source that gathers straight into given buffers, with label and ID columns as i64."""

    def gather_into(self, idx: Positions, buffers: BufferSource, /) -> PackedArrays: ...


@dataclass(frozen=True)
class GraphBatch:
    """B graphs as tensors, nodes numbered across the batch.

    Attributes:
        x: f32[N, D] unscaled. node_id: i64[N] ID keys. edge_index: i64[2, E]. edge_attr: f32[E, 11].
        batch: i64[N] graph of each node. ptr: i64[B+1] first node of each graph. y: i64[B]. attack: i64[B], −1 benign.
        node_y: i64[N]. index: i64[B] position in the source.
    """

    x: Tensor
    node_id: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    ptr: Tensor
    y: Tensor
    attack: Tensor
    node_y: Tensor
    index: Tensor

    @property
    def num_graphs(self) -> int:
        return self.y.numel()

    @property
    def num_nodes(self) -> int:
        return len(self.x)

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

    @property
    def edge_ptr(self) -> Tensor:
        """i64[B+1] first edge of each graph."""
        edges = torch.bincount(self.batch[self.edge_index[0]], minlength=self.num_graphs)
        return torch.cat([edges.new_zeros(1), edges.cumsum(0)])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> GraphBatch:
        """The same batch on ``device``."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)}
        return replace(self, **moved)

    def pin_memory(self) -> GraphBatch:
        """The same batch in pinned memory, for non-blocking copies to CUDA."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    @classmethod
    def of(cls, packed: PackedArrays) -> GraphBatch:
        """Tensors over the packed arrays; only label and ID columns are widened, the large ones are shared."""

        def wide(values: npt.NDArray[Any]) -> Tensor:
            return torch.from_numpy(values if values.dtype == np.int64 else values.astype(np.int64))

        return cls(
            x=torch.from_numpy(packed.x_ND),
            node_id=wide(packed.node_id_N),
            edge_index=torch.from_numpy(packed.edge_index_2E),
            edge_attr=torch.from_numpy(packed.edge_attr_E11),
            batch=torch.from_numpy(packed.graph_of_node_N),
            ptr=torch.from_numpy(packed.ptr),
            y=wide(packed.y_G),
            attack=wide(packed.attack_G),
            node_y=wide(packed.node_y_N),
            index=torch.from_numpy(packed.index_G),
        )


def to_pyg(batch: GraphBatch) -> Batch:
    """The batch as a PyG ``Batch`` that PyG's layers, transforms and ``to_data_list`` accept."""
    ptr, edge_ptr = batch.ptr, batch.edge_ptr
    graphs = []
    for g in range(batch.num_graphs):
        nodes, own = slice(int(ptr[g]), int(ptr[g + 1])), slice(int(edge_ptr[g]), int(edge_ptr[g + 1]))
        graphs.append(
            Data(
                x=batch.x[nodes],
                edge_index=batch.edge_index[:, own] - ptr[g],
                edge_attr=batch.edge_attr[own],
                y=batch.y[g : g + 1],
                attack=batch.attack[g : g + 1],
                node_id=batch.node_id[nodes],
                node_y=batch.node_y[nodes],
            )
        )
    return Batch.from_data_list(graphs)
