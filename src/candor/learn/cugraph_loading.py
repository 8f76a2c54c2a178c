"""The loader by cugraph-pyg: a source's graphs as the components of one large graph, from which batches are sampled.

CUDA only. Written against cugraph-pyg 26.10 (GraphStore, FeatureStore, NeighborLoader). Every node of the chosen graphs
is a seed, and all edges into the seeds are taken, so that whole graphs come out, whatever their shape. What comes out
in the sampler's order is put into the order of the source: a batch is the one that GraphLoader gives, to the bit.

Legend: G graphs, B graphs in a batch, N nodes, E edges, D node features, F edge features, S seeds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from candor.errors import ConfigError, DataError, ExtraMissing
from candor.learn.batching import BatchSampler, GraphBatch, GraphSource, Positions
from candor.learn.loading import GraphLoader

NODE, EDGE = "node", ("node", "to", "node")
_PLACE = "training.loader.kind"


class CugraphLoader(GraphLoader):
    """GraphLoader whose batches are sampled on the device by cugraph-pyg. They lie on the device already.

    All graphs of ``source`` are held twice while this is built: in host memory, and where cugraph keeps them (edges on
    the device, features in ``location``). GraphLoader maps them from disk instead.

    Args:
        source, sampler: see GraphLoader; ``sampler`` may name a graph more than once in a batch.
        location: where cugraph holds node and edge features; ``cpu`` is pinned memory that the device reads.
        device: of the batches.

    Raises:
        ExtraMissing: cugraph-pyg or a CUDA device is not here.
        ConfigError: more than one process trains.
    """

    def __init__(
        self,
        source: GraphSource,
        sampler: BatchSampler,
        *,
        location: Literal["cpu", "cuda"] = "cpu",
        device: str = "cuda",
    ) -> None:
        # No thread ahead: the kernels run ahead of the host as it is.
        super().__init__(source, sampler, prefetch=0)
        library = _library()
        _one_process()
        whole = GraphBatch.of(source.gather(np.arange(len(source.node_counts))))
        self._components = Components.of(whole, device)
        self._stores, self._neighbours = _stores(library, whole, location), library.loader.NeighborLoader

    def _gather(self, idx: Positions) -> GraphBatch:
        seeds_S = self._components.nodes(torch.unique(_tensor(idx)))
        sampled = self._neighbours(
            self._stores,
            # One hop: an edge into a node of a graph comes from a node of that graph, and all of them are seeds.
            num_neighbors=[-1],
            input_nodes=seeds_S,
            batch_size=len(seeds_S),
            local_seeds_per_call=len(seeds_S),  # The default may be less than a batch, which gives none.
            compression="COO",
            shuffle=False,
        )
        return self._components.batch(idx, next(iter(sampled)))


@dataclass(frozen=True)
class Components:
    """Which nodes and edges of the large graph are which graph's; the pure part of the loader.

    Attributes:
        node_ptr, edge_ptr: i64[G+1] first node and edge of each graph, in host memory.
        y, attack: i64[G]. device: of the batches.
    """

    node_ptr: Tensor
    edge_ptr: Tensor
    y: Tensor
    attack: Tensor
    device: str

    @classmethod
    def of(cls, whole: GraphBatch, device: str) -> Components:
        """Those of a batch of all graphs."""
        return cls(whole.ptr.clone(), whole.edge_ptr, whole.y.clone(), whole.attack.clone(), device)

    def nodes(self, graphs_B: Tensor) -> Tensor:
        """i64 nodes of the graphs, graph by graph, in host memory."""
        return _ranges(self.node_ptr, graphs_B)

    def batch(self, idx: Positions, sampled: Any) -> GraphBatch:
        """The graphs ``idx`` out of a sample that holds each of them once, whole, in any order of nodes and edges.

        Args:
            sampled: a PyG ``Data``: n_id i64[N] and e_id i64[E], nodes and edges of the large graph; edge_index
                i64[2, E] by position in n_id; x, node_id and node_y by node, edge_attr by edge.

        Raises:
            DataError: other nodes or edges were sampled than the graphs have.
        """
        graphs_B = _tensor(idx)
        nodes_N, edges_E = self.nodes(graphs_B), _ranges(self.edge_ptr, graphs_B)
        node_at = _positions(sampled.n_id.to(self.device), nodes_N.to(self.device), "nodes")
        edge_at = _positions(sampled.e_id.to(self.device), edges_E.to(self.device), "edges")
        counts_B = self.node_ptr[graphs_B + 1] - self.node_ptr[graphs_B]
        ptr = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
        # An end of an edge: its node in the large graph, less that graph's first node there, plus that in the batch.
        edges_B = self.edge_ptr[graphs_B + 1] - self.edge_ptr[graphs_B]
        moved_E = torch.repeat_interleave(ptr[:-1] - self.node_ptr[graphs_B], edges_B).to(self.device)
        ends_2E = sampled.n_id.to(self.device)[sampled.edge_index.to(self.device)[:, edge_at]]
        return GraphBatch(
            x=sampled.x.to(self.device)[node_at],
            node_id=sampled.node_id.to(self.device)[node_at],
            edge_index=ends_2E + moved_E,
            edge_attr=sampled.edge_attr.to(self.device)[edge_at],
            batch=torch.repeat_interleave(torch.arange(len(graphs_B)), counts_B).to(self.device),
            ptr=ptr.to(self.device),
            y=self.y[graphs_B].to(self.device),
            attack=self.attack[graphs_B].to(self.device),
            node_y=sampled.node_y.to(self.device)[node_at],
            index=graphs_B.to(self.device),
        )


def _tensor(idx: Positions) -> Tensor:
    return torch.from_numpy(np.array(idx, np.int64))


def _ranges(ptr: Tensor, of_B: Tensor) -> Tensor:
    """The numbers ``ptr[i] … ptr[i+1] - 1`` for each ``i``, one after the other."""
    count_B = ptr[of_B + 1] - ptr[of_B]
    before_B = count_B.cumsum(0) - count_B
    return torch.repeat_interleave(ptr[of_B] - before_B, count_B) + torch.arange(int(count_B.sum()))


def _positions(have: Tensor, want: Tensor, what: str) -> Tensor:
    """Where in ``have`` (no number twice) each number of ``want`` is."""
    order = have.argsort()
    at = torch.searchsorted(have[order], want).clamp_(max=max(len(have) - 1, 0))
    if not len(have) or not (have[order[at]] == want).all():
        raise DataError(
            f"the neighbour loader left out {what} of a chosen graph",
            place=_PLACE,
            hint="Train with training.loader.kind=packed, and report the version of cugraph-pyg.",
        )
    return order[at]


def _stores(library: Any, whole: GraphBatch, location: str) -> tuple[Any, Any]:
    """(features, graph) of all graphs in cugraph's stores; node and edge numbers are positions in ``whole``."""
    features, graph = library.data.FeatureStore(location=location), library.data.GraphStore()
    graph.put_edge_index(whole.edge_index, EDGE, "coo", False, (whole.num_nodes, whole.num_nodes))
    for name in ("x", "node_id", "node_y"):
        features[NODE, name, None] = getattr(whole, name)
    features[EDGE, "edge_attr", None] = whole.edge_attr
    return features, graph


def _library() -> Any:
    packed = "Use training.loader.kind=packed, which gives the same batches."
    if not torch.cuda.is_available():
        raise ExtraMissing(
            "training.loader.kind=cugraph runs on CUDA, and there is no device here",
            place=_PLACE,
            hint=packed,
        )
    try:
        import cugraph_pyg  # type: ignore[import-not-found]
    except ImportError as e:
        raise ExtraMissing(
            "training.loader.kind=cugraph needs cugraph-pyg",
            place=_PLACE,
            hint="Install cugraph-pyg-cu12 or -cu13 with `pip install --extra-index-url https://pypi.nvidia.com`. "
            f"{packed}",
        ) from e
    if not hasattr(cugraph_pyg.data, "FeatureStore"):
        raise ExtraMissing(
            f"cugraph-pyg {getattr(cugraph_pyg, '__version__', 'of unknown version')} has no FeatureStore",
            place=_PLACE,
            hint=f"Install a newer one; 26.10 is what Candor was written against. {packed}",
        )
    return cugraph_pyg


def _one_process(backend: str = "nccl") -> None:
    """What cugraph's stores ask of a process, which is a process group, even if of one."""
    if not dist.is_initialized():
        os.environ.setdefault("LOCAL_WORLD_SIZE", "1")  # They read it and have no default.
        alone = dist.HashStore()  # type: ignore[attr-defined]  # Of this process: no address, no port.
        dist.init_process_group(backend, store=alone, rank=0, world_size=1)
    if dist.get_world_size() > 1:
        raise ConfigError(
            f"training.loader.kind=cugraph in {dist.get_world_size()} processes",
            place=_PLACE,
            hint="Train in one process, or use training.loader.kind=packed.",
        )
