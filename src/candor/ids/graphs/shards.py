"""Captures built in parallel: one shard each, published atomically in scratch, then joined in the catalog's order.

A shard is a GraphStore of one capture with the moments and IDs of its benign windows beside it. What a shard holds does
not depend on who built it or when, and shards are joined in order, so the store is the same to the bit whether one
process built it, eight did, or a killed build was taken up again.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import CandorError
from candor.flow.stage import Output
from candor.flow.storage import fsync_path, fsync_tree
from candor.flow.workers import ThreadWorkers, Workers
from candor.ids.config import GraphConfig, Window, WindowConfig
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.store import GraphStore
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.graphs.writer import StoreWriter

# D node features, F edge features, K blocks

_FIT = "fit.npz"
#: Entries (window × event) from which processes build the captures. Measured by benchmarks.preparation on two idle cores,
#: 3.4 and 10.5 million entries: two processes 2.4 and 3.9 s, one with two threads 1.5 and 3.3 s. So processes cost some
#: 1.2 s more and save 0.06 s a million, and break even at about 20 million, by extrapolation; with other work on the
#: cores (load 3 to 5) at about 40 million.
PARALLEL_ENTRIES = 40_000_000

JobT = TypeVar("JobT")


@dataclass
class Fit:
    """What is fitted on training windows: moments of benign nodes and edges, IDs that vehicles send."""

    nodes: Moments
    edges: Moments
    ids: set[int] = field(default_factory=set)

    @classmethod
    def empty(cls, node_features: int, edge_features: int) -> Fit:
        return cls(Moments(node_features), Moments(edge_features))


class ShardFit:
    """The fit of one capture, block by block: sums that are merged in another order round differently."""

    def __init__(self) -> None:
        self._blocks: list[tuple[Moments, Moments]] = []
        self._ids: set[int] = set()

    def add(self, graphs: PackedGraphs) -> None:
        """Add a block of training windows."""
        self._ids.update(Vocabulary.fit(graphs.node_id_N, graphs.node_y_N).ids.tolist())
        benign = graphs.y_G == 0
        nodes = graphs.x_ND[np.repeat(benign, graphs.node_counts_G)]
        edges = graphs.edge_attr_E11[np.repeat(benign, graphs.edge_counts_G)]
        self._blocks.append((Moments.of(nodes), Moments.of(edges)))

    def save(self, folder: Path) -> None:
        """Write ``fit.npz``."""
        arrays: dict[str, npt.NDArray[Any]] = {"ids": np.array(sorted(self._ids), np.int64)}
        for at, name in enumerate(("nodes", "edges")):
            own = [block[at] for block in self._blocks]
            arrays[f"{name}_count"] = np.array([m.count for m in own], np.int64)
            for part in ("mean", "squares"):
                rows = [getattr(m, part) for m in own]
                arrays[f"{name}_{part}"] = np.array(rows) if rows else np.zeros((0, 0))
        np.savez(folder / _FIT, **arrays)  # type: ignore[arg-type]  # numpy types **kwds as allow_pickle, too.


def merge_fit(folder: Path, into: Fit) -> None:
    """Add what a shard's ShardFit saved."""
    with np.load(folder / _FIT, allow_pickle=False) as saved:
        into.ids.update(saved["ids"].tolist())
        for name, total in (("nodes", into.nodes), ("edges", into.edges)):
            count, mean, squares = (saved[f"{name}_{part}"] for part in ("count", "mean", "squares"))
            for k in range(len(count)):
                block = Moments(len(total.mean))
                block.count, block.mean, block.squares = int(count[k]), mean[k], squares[k]
                total.merge(block)


def shard_folder(out: Output, split: str, capture: str) -> Path:
    """Where the shard of a capture lies until its stage has succeeded."""
    return out.scratch / "shards" / split / capture


@contextmanager
def shard_writer(folder: Path, *, num_node_features: int) -> Iterator[StoreWriter]:
    """Writes a shard that appears under ``folder`` whole or not at all."""
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        with StoreWriter(partial, num_node_features=num_node_features) as writer:
            yield writer
        _publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path) -> None:
    # Before the name is there, or a crash of the machine leaves a shard of the right sizes that holds zeros.
    fsync_tree(partial)
    try:
        os.rename(partial, folder)
    except OSError:
        # A worker that was taken for dead published the same shard meanwhile; somebody may be reading it.
        if _whole(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
    fsync_path(folder.parent)


def _whole(folder: Path) -> bool:
    try:
        GraphStore.open(folder)
    except CandorError:
        return False
    return True


def build_shards(
    function: Callable[[JobT], object],
    jobs: Sequence[JobT],
    folders: Sequence[Path],
    out: Output,
    share: Sharing,
) -> None:
    """Call ``function`` on every job whose shard is missing, several at a time as ``share`` says."""
    for parent in {folder.parent for folder in folders}:
        parent.mkdir(parents=True, exist_ok=True)
        for torn in parent.glob(".*"):  # Of a process that was killed.
            shutil.rmtree(torn, ignore_errors=True)
    missing = [k for k, folder in enumerate(folders) if not _whole(folder)]
    done = len(jobs) - len(missing)
    workers: Workers = out.workers if share.processes > 1 else ThreadWorkers()
    at_most = max(share.processes, share.captures)
    for position, _ in workers.map(function, [jobs[k] for k in missing], at_most=at_most):
        done += 1
        folder = folders[missing[position]]
        out.progress(done, len(jobs), f"{folder.parent.name}: {folder.name}")


def join(folders: Sequence[Path], out: Path, meta: dict[str, Any], *, num_node_features: int) -> StoreWriter:
    """One store of all shards, in order; the writer that wrote it."""
    with StoreWriter(out, num_node_features=num_node_features) as writer:
        writer.meta |= {"attacks": [], "captures": []}
        for folder in folders:
            writer.append_store(folder)
        writer.meta |= meta
    return writer


@dataclass(frozen=True)
class Sharing:
    """How the captures of a build share the cores.

    Attributes:
        processes: that build captures; with 1 it is this one.
        captures: built at once in this process. threads: over the window blocks of a capture.
    """

    processes: int
    captures: int
    threads: int


def sharing(config: GraphConfig, catalog: pl.DataFrame) -> Sharing:
    """Processes where the captures to build are worth starting them; else threads over captures, then over blocks."""
    sides = ["test" if split == "test" else "train" for split in config.splits]
    rows = catalog.filter(pl.col("split").is_in(sides))["rows"].to_list()
    entries = sum(rows) * _overlap(config.window) * len(config.profiles)
    cores = len(os.sched_getaffinity(0))
    if config.workers > 1 and entries >= PARALLEL_ENTRIES:
        return Sharing(config.workers, 1, config.threads or max(1, cores // config.workers))
    threads = config.threads or cores
    captures = max(1, min(config.workers, threads, len(rows)))
    return Sharing(1, captures, threads // captures)


def _overlap(window: Window) -> float:
    """Windows that an event lies in."""
    if isinstance(window, WindowConfig):
        return window.window_frames / window.stride_frames
    return window.window_s / window.stride_s


def summary(store: StoreWriter) -> dict[str, Any]:
    """What a stage says of a split's store."""
    captures = store.meta["captures"]
    empty = [c["capture"] for c in captures if not c["windows"]]
    return {"graphs": store.num_graphs, "captures": len(captures), "captures_without_window": empty}
