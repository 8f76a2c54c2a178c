"""Batches of graphs under a node and an edge budget, and the loader that turns them into tensors.

Legend: G graphs, B graphs in a batch, N nodes, E edges, D node features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch, Data

from candor.errors import ConfigError


class OversizedGraph(UserWarning):
    """A graph alone is larger than the budget; it travels alone."""


class BudgetSampler(Sampler[list[int]]):
    """Batches of graph indices that stay within ``max_nodes`` and ``max_edges``: drop-in for PyG's DynamicBatchSampler.

    Every graph comes exactly once per epoch (unless ``drop_last``). A graph larger than a budget comes alone, with an
    OversizedGraph warning. The same seed and epoch give the same batches; ``set_epoch`` changes the order. ``len`` is
    exact for the current epoch before it is iterated: packing is done on counts alone. It can differ between epochs
    of a shuffled sampler by a batch or so, because packing depends on the order; under Lightning set
    ``reload_dataloaders_every_n_epochs=1`` so that it asks again.

    Args:
        node_counts, edge_counts: i64[G].
        max_nodes, max_edges: budget of a batch.
        shuffle: new order each epoch; else the order of the store.
        seed: of the shuffle.
        drop_last: leave out the last batch of an epoch if it could have held more graphs.
        min_batch_size: a last batch with fewer graphs takes some from the one before (batch norm needs two), as far
            as the budget allows; with ``drop_last`` it is dropped instead.

    Raises:
        ConfigError: a budget or ``min_batch_size`` below 1, or counts of different length.
    """

    def __init__(
        self,
        node_counts: npt.NDArray[np.integer[Any]] | Sequence[int],
        edge_counts: npt.NDArray[np.integer[Any]] | Sequence[int],
        *,
        max_nodes: int,
        max_edges: int,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        min_batch_size: int = 1,
    ) -> None:
        self._nodes = np.asarray(node_counts, np.int64)
        self._edges = np.asarray(edge_counts, np.int64)
        if min(max_nodes, max_edges, min_batch_size) < 1:
            raise ConfigError(
                f"budgets and min_batch_size must be at least 1, got {max_nodes}, {max_edges}, {min_batch_size}"
            )
        if self._nodes.shape != self._edges.shape:
            raise ConfigError(f"{len(self._nodes)} node counts, but {len(self._edges)} edge counts")
        self.max_nodes, self.max_edges = max_nodes, max_edges
        self.shuffle, self.seed, self.drop_last, self.min_batch_size = (
            shuffle,
            seed,
            drop_last,
            min_batch_size,
        )
        self.epoch = 0
        self._packed: tuple[int, list[list[int]]] | None = None
        self.oversized = np.flatnonzero((self._nodes > max_nodes) | (self._edges > max_edges))
        if len(self.oversized):
            warnings.warn(
                f"{len(self.oversized)} of {len(self._nodes)} graphs exceed the budget of {max_nodes} nodes and "
                f"{max_edges} edges (largest: {self._nodes.max()} nodes, {self._edges.max()} edges); each travels alone",
                OversizedGraph,
                stacklevel=2,
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``; the next ``iter`` and ``len`` follow it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches()

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        if self._packed is None or self._packed[0] != self.epoch:
            self._packed = (self.epoch, self._pack(self._order()))
        return self._packed[1]

    def _order(self) -> npt.NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self._nodes))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self._nodes))

    def _pack(self, order: npt.NDArray[np.int64]) -> list[list[int]]:
        batches: list[list[int]] = []
        open_batch: list[int] = []
        nodes = edges = 0
        oversized = set(self.oversized.tolist())
        for i, n, e in zip(
            order.tolist(), self._nodes[order].tolist(), self._edges[order].tolist(), strict=True
        ):
            if i in oversized:  # The open batch stays open: what follows may still fit.
                batches.append([i])
                continue
            if open_batch and (nodes + n > self.max_nodes or edges + e > self.max_edges):
                batches.append(open_batch)
                open_batch, nodes, edges = [], 0, 0
            open_batch.append(i)
            nodes, edges = nodes + n, edges + e
        if open_batch and not self.drop_last:
            batches.append(open_batch)
            self._top_up(batches, oversized)
        return batches

    def _top_up(self, batches: list[list[int]], oversized: set[int]) -> None:
        """Move graphs from the batch before into a last batch below ``min_batch_size``."""
        last = batches[-1]
        donor = next((b for b in reversed(batches[:-1]) if b[0] not in oversized), None)
        while donor is not None and len(last) < self.min_batch_size < len(donor):
            grown = [donor[-1], *last]
            if self._nodes[grown].sum() > self.max_nodes or self._edges[grown].sum() > self.max_edges:
                return
            last.insert(0, donor.pop())


class BatchSampler(Protocol):
    """Gives batches of graph indices for an epoch: BudgetSampler, or one that chooses graphs first."""

    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[list[int]]: ...


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
    def gather(self, idx: Sequence[int], /) -> PackedArrays: ...


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
        return len(self.y)

    @property
    def num_nodes(self) -> int:
        return len(self.x)

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]

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
            return torch.from_numpy(values.astype(np.int64))

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


class GraphLoader:
    """Iterates GraphBatches of ``source`` in the order of ``sampler``; usable as a Lightning dataloader.

    Every batch owns its arrays, so a trainer may hold or prefetch several. Lightning calls ``set_epoch`` on a
    dataloader's ``sampler``, and reads its ``batch_sampler`` to tell whether validation is shuffled; both are here.
    """

    def __init__(self, source: GraphSource, sampler: BatchSampler) -> None:
        self.source, self.batch_sampler = source, sampler

    @property
    def sampler(self) -> BatchSampler:
        """The batch sampler, under the name that Lightning looks for."""
        return self.batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[GraphBatch]:
        for idx in self.batch_sampler:
            yield GraphBatch.of(self.source.gather(idx))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        self.batch_sampler.set_epoch(epoch)


def to_pyg(batch: GraphBatch) -> Batch:
    """The batch as a PyG ``Batch`` that PyG's layers, transforms and ``to_data_list`` accept."""
    ptr = batch.ptr
    edges = torch.bincount(batch.batch[batch.edge_index[0]], minlength=batch.num_graphs)
    edge_ptr = torch.cat([edges.new_zeros(1), edges.cumsum(0)])
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
