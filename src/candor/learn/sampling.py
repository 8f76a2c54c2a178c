"""Batches of graphs under a node and an edge budget.

Legend: G graphs.
"""

from __future__ import annotations

import heapq
import itertools
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from candor.errors import ConfigError
from candor.learn.packing import first_fit

#: Graphs of a batch, i64.
Batch = npt.NDArray[np.int64]
#: Open batches a shuffled graph may choose from: more fill the budget better and make the order less random. The
#: share of the budget this reaches is in benchmarks/RESULTS.md (budget_use).
_OPEN_BATCHES = 16


class OversizedGraph(UserWarning):
    """A graph alone is larger than the budget; it travels alone."""


class OverArrays(Sampler[list[int]]):
    """Batches as lists, as Lightning and PyG want them, of those that ``arrays`` gives."""

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.arrays():
            yield batch.tolist()

    def arrays(self) -> Iterator[Batch]:
        """The batches as i64 arrays: GraphLoader takes them as they are."""
        raise NotImplementedError


class BudgetSampler(OverArrays):
    """Batches of graph indices that stay within ``max_nodes`` and ``max_edges``, for GraphLoader or PyG's DataLoader.

    Every graph comes exactly once per epoch (unless ``drop_last``), on one of the ranks. A graph larger than a budget
    comes alone, with an OversizedGraph warning. The same seed and epoch give the same batches; ``set_epoch`` changes
    the order. Shuffled graphs are packed first-fit, others in runs of the store's order. ``len`` is exact for the
    current epoch before it is iterated: packing is done on counts alone. It can differ between epochs of a shuffled
    sampler by a batch or so, because packing depends on the order; under Lightning set
    ``reload_dataloaders_every_n_epochs=1`` so that it asks again.

    Args:
        node_counts, edge_counts: i64[G].
        max_nodes, max_edges: budget of a batch.
        shuffle: new order each epoch; else the order of the store.
        seed: of the shuffle.
        drop_last: leave out the last batch of an epoch if it could have held more graphs.
        min_batch_size: a last batch with fewer graphs takes some from the one before (batch norm needs two), as far
            as the budget allows; with ``drop_last`` it is dropped instead.
        min_steps_per_epoch: batches of every rank, as far as there are graphs for ``min_batch_size``. A budget that swallows the data set in
            two steps per epoch trains badly; it is lowered until there are enough.
        rank, world_size: which share of an epoch's batches this process takes. All ranks get equally many, or a
            collective would wait for ever: batches are halved until their number divides.

    Raises:
        ConfigError: a budget, ``min_batch_size`` or ``min_steps_per_epoch`` below 1, counts of different length, or a
            rank outside the world; when an epoch is packed, if its graphs cannot be shared by all ranks in equally
            many batches.
    """

    #: Leave out graphs larger than a budget; batches of an epoch at most; a finished epoch is followed by the next.
    _skip_too_big, _max_steps, _advances = False, sys.maxsize, False

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
        min_steps_per_epoch: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._nodes = np.asarray(node_counts, np.int64)
        self._edges = np.asarray(edge_counts, np.int64)
        if min(max_nodes, max_edges, min_batch_size, min_steps_per_epoch) < 1:
            raise ConfigError(
                "budgets, min_batch_size and min_steps_per_epoch must be at least 1, got "
                f"{max_nodes}, {max_edges}, {min_batch_size}, {min_steps_per_epoch}"
            )
        if self._nodes.shape != self._edges.shape:
            raise ConfigError(f"{len(self._nodes)} node counts, but {len(self._edges)} edge counts")
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank {rank} of a world of {world_size}")
        self.max_nodes, self.max_edges = max_nodes, max_edges
        self.shuffle, self.seed, self.drop_last, self.min_batch_size = (
            shuffle,
            seed,
            drop_last,
            min_batch_size,
        )
        self.min_steps_per_epoch, self.rank, self.world_size = min_steps_per_epoch, rank, world_size
        self.epoch = 0
        self._given = self._skip = 0
        self._packed: tuple[int, list[Batch]] | None = None
        self.oversized = np.flatnonzero((self._nodes > max_nodes) | (self._edges > max_edges))
        if len(self.oversized):
            warnings.warn(
                f"{len(self.oversized)} of {len(self._nodes)} graphs exceed the budget of {max_nodes} nodes and "
                f"{max_edges} edges (largest: {self._nodes.max()} nodes, {self._edges.max()} edges); each travels alone",
                OversizedGraph,
                stacklevel=2,
            )

    @classmethod
    def over(
        cls,
        dataset: Any,
        max_num: int,
        mode: Literal["node", "edge"] = "node",
        shuffle: bool = False,
        skip_too_big: bool = False,
        num_steps: int | None = None,
        *,
        seed: int = 0,
    ) -> BudgetSampler:
        """In place of PyG's ``DynamicBatchSampler(dataset, max_num, mode, shuffle, skip_too_big, num_steps)``.

        As there, every iteration is shuffled anew without ``set_epoch``. ``dataset``: a GraphStore, or any sequence of
        PyG graphs. Without shuffle the batches are PyG's.
        """
        nodes, edges = graph_counts(dataset)
        max_nodes, max_edges = (max_num, sys.maxsize) if mode == "node" else (sys.maxsize, max_num)
        sampler = cls(nodes, edges, max_nodes=max_nodes, max_edges=max_edges, shuffle=shuffle, seed=seed)
        sampler._skip_too_big, sampler._advances = skip_too_big, True
        sampler._max_steps = num_steps or sys.maxsize
        return sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``; the next ``iter`` and ``len`` follow it."""
        self.epoch = epoch

    def arrays(self) -> Iterator[Batch]:
        """Those of the epoch that were not given yet."""
        self._given, self._skip = self._skip, 0
        for batch in self._batches()[self._given :]:
            self._given += 1
            yield batch
        if self._advances:
            self.epoch += 1
            self._given = 0

    def __len__(self) -> int:
        return len(self._batches())

    def state_dict(self) -> dict[str, int]:
        """Epoch, and batches given in it."""
        return {"epoch": self.epoch, "batch": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next ``iter`` goes on behind the batches given when ``state`` was taken; later ones are whole."""
        self.epoch, self._skip = state["epoch"], state["batch"]

    def _batches(self) -> list[Batch]:
        if self._packed is None or self._packed[0] != self.epoch:
            self._packed = (self.epoch, self._share(self._pack(self._order())))
        return self._packed[1]

    def _share(self, batches: list[Batch]) -> list[Batch]:
        if len(batches) % self.world_size:
            raise ConfigError(
                f"{sum(map(len, batches))} graphs in {len(batches)} batches that can neither be split nor joined, for "
                f"{self.world_size} ranks that must all take equally many steps",
                place="batch sampler",
                hint="Use fewer processes, or a larger budget.",
            )
        return batches[self.rank :: self.world_size][: self._max_steps]

    def _order(self) -> npt.NDArray[np.int64]:
        order = np.arange(len(self._nodes))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self._nodes))
        return order[~np.isin(order, self.oversized)] if self._skip_too_big else order

    def _pack(self, order: npt.NDArray[np.int64]) -> list[Batch]:
        # Batches of one graph below min_batch_size would be all that more steps could bring.
        steps = min(self.min_steps_per_epoch * self.world_size, max(len(order) // self.min_batch_size, 1))
        max_nodes = min(self.max_nodes, max(math.ceil(self._nodes.sum() / steps), 1))
        max_edges = min(self.max_edges, max(math.ceil(self._edges.sum() / steps), 1))
        budget = (max_nodes, max_edges) if steps > 1 else (self.max_nodes, self.max_edges)
        of = first_fit(
            order, self._nodes, self._edges, budget[0], budget[1], _OPEN_BATCHES if self.shuffle else 1
        )
        sizes = np.bincount(of) if len(of) else np.zeros(0, np.int64)
        in_batches = order[np.argsort(of, kind="stable")]
        ends = np.cumsum(sizes).tolist()
        batches = [in_batches[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
        self._finish_last(batches)
        self._halve(batches)
        self._join(batches)
        return batches

    def _finish_last(self, batches: list[Batch]) -> None:
        """Drop the last batch that could have held more, or fill it from the one before up to ``min_batch_size``."""
        oversized = set(self.oversized.tolist())
        normal = [k for k in reversed(range(len(batches))) if batches[k][0] not in oversized]
        if normal and self.drop_last:
            del batches[normal[0]]
            return
        if len(normal) < 2:
            return
        last, donor = batches[normal[0]], batches[normal[1]]
        while len(last) < self.min_batch_size < len(donor):
            grown = np.r_[donor[-1], last]
            if self._nodes[grown].sum() > self.max_nodes or self._edges[grown].sum() > self.max_edges:
                return
            last, donor = grown, donor[:-1]
            batches[normal[0]], batches[normal[1]] = last, donor

    def _halve(self, batches: list[Batch]) -> None:
        """Halve the batches with most graphs until there are the steps asked for and every rank has equally many.

        For more steps none falls below ``min_batch_size``; for equal ranks it may, since they would wait for ever.
        """
        steps = self.min_steps_per_epoch * self.world_size
        serial = (
            itertools.count()
        )  # Of two as long from one batch the older goes first: arrays have no order.
        heap = [(-len(batch), k, next(serial), batch) for k, batch in enumerate(batches)]
        heapq.heapify(heap)
        pieces: dict[int, list[Batch]] = {}
        count = len(batches)
        while heap and (count < steps or count % self.world_size):
            size = -heap[0][0]
            enough = 2 if count % self.world_size else max(2, 2 * self.min_batch_size)
            if size < enough:
                break
            _, at, _, whole = heapq.heappop(heap)
            halves = [whole[: size // 2], whole[size // 2 :]]
            held = pieces.setdefault(at, [whole])
            place = next(i for i, piece in enumerate(held) if piece is whole)
            held[place : place + 1] = halves
            for half in halves:
                heapq.heappush(heap, (-len(half), at, next(serial), half))
            count += 1
        batches[:] = [piece for k, batch in enumerate(batches) for piece in pieces.get(k, [batch])]

    def _join(self, batches: list[Batch]) -> None:
        """Where nothing can be halved any more, join the smallest two that fit, until every rank has equally many."""
        while len(batches) % self.world_size and (pair := self._smallest_pair(batches)):
            one, other = pair
            batches[one] = np.concatenate((batches[one], batches[other]))
            del batches[other]

    def _smallest_pair(self, batches: list[Batch]) -> tuple[int, int] | None:
        """Places of the two batches of fewest nodes that go together within the budget, in order; None if no two do."""
        nodes = np.array([self._nodes[batch].sum() for batch in batches])
        edges = np.array([self._edges[batch].sum() for batch in batches])
        order = np.argsort(nodes, kind="stable")
        for k, one in enumerate(order):
            rest = order[k + 1 :]
            fit = (nodes[one] + nodes[rest] <= self.max_nodes) & (edges[one] + edges[rest] <= self.max_edges)
            if fit.any():
                other = rest[fit.argmax()]
                return int(min(one, other)), int(max(one, other))
        return None


def graph_counts(dataset: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Nodes and edges of every graph of a GraphStore or of a sequence of PyG graphs; i64[G] each."""
    if hasattr(dataset, "node_counts"):
        return np.asarray(dataset.node_counts, np.int64), np.asarray(dataset.edge_counts, np.int64)
    sizes = [(graph.num_nodes, graph.num_edges) for graph in (dataset[i] for i in range(len(dataset)))]
    counts = np.array(sizes, np.int64).reshape(-1, 2)
    return counts[:, 0], counts[:, 1]
