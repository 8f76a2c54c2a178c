"""Batch assembly: GraphLoader over a memory-mapped store, against PyG's DataLoader with DynamicBatchSampler."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader, DynamicBatchSampler

from benchmarks import traffic
from benchmarks.timing import Measurement, save, seconds
from candor.ids.graphs.store import GraphStore
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler

# Frames as in `build`. On fewer, most of an epoch is spent fetching what the other way drove out of the caches: 20.4 to
# 21.2 × on 600,000, 22 × on these.
FRAMES, MAX_NODES = 2_000_000, 4096


def ours(store: GraphStore, **options: int) -> GraphLoader:
    sampler = BudgetSampler(
        store.node_counts, store.edge_counts, max_nodes=MAX_NODES, max_edges=10**9, shuffle=False, seed=0
    )
    return GraphLoader(store, sampler, **options)


def pyg(graphs: list[Data], steps: int | None = None) -> DataLoader:
    sampler = DynamicBatchSampler(graphs, max_num=MAX_NODES, mode="node", num_steps=steps)
    # A generator of its own: DataLoader draws a seed per epoch, which would shift the model's dropout.
    return DataLoader(graphs, batch_sampler=sampler, generator=torch.Generator())


def through(batches: object) -> int:
    return sum(batch.num_graphs for batch in batches)  # type: ignore[attr-defined]


def check(store: GraphStore, graphs: list[Data]) -> None:
    """The same batches with the same content."""
    theirs = [batch for batch in pyg(graphs)]  # noqa: C416 - list() asks for a length, which PyG's sampler has not
    mine = list(ours(store))
    assert len(theirs) == len(mine)
    for a, b in zip(mine, theirs, strict=True):
        for name in ("x", "edge_index", "edge_attr", "batch", "ptr", "y", "attack", "node_id", "node_y"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def run() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        store = traffic.store(Path(folder) / "store", FRAMES)
        graphs = [store[i] for i in range(len(store))]
        check(store, graphs)
        # Nothing is computed between batches here, so the thread has nothing to hide behind and only costs.
        mine, ahead = ours(store, prefetch=0), ours(store)
        ways = {
            "ours": lambda: through(mine),
            "with thread": lambda: through(ahead),
            "pyg": lambda: through(pyg(graphs)),
        }
        # Processor time, one thread in either way: by the wall on two busy cores the same code gave 16 to 23 times.
        took = seconds(ways, repeats=9, clock=time.process_time)
        size = sum(a.nbytes for a in (store.x_ND, store.edge_attr_E11, store.edge_index_2E, store.node_id_N))
    figures = {
        "µs/graph": round(took["ours"] / len(graphs) * 1e6, 2),
        "with prefetch thread, both": round(took["with thread"] / len(graphs) * 1e6, 2),
        "PyG": round(took["pyg"] / len(graphs) * 1e6, 1),
        "GB/s": round(size / took["ours"] / 1e9, 2),
    }
    return [
        Measurement("batches", took["pyg"] / took["ours"], 20, "× PyG", "memory bandwidth of a core", figures)
    ]


if __name__ == "__main__":
    save(run())
