"""Batches sampled by cugraph-pyg: what is told where it is missing, and that they are the packed loader's batches."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_world import TinyWorld
from torch import Tensor

from candor.config.fingerprint import science
from candor.errors import ConfigError, DataError, ExtraMissing
from candor.ids.config import CugraphLoader, PackedLoader, TrainingConfig
from candor.ids.graphs.store import GraphStore
from candor.ids.loaders import graph_loader
from candor.learn import cugraph_loading
from candor.learn.batching import GraphBatch
from candor.learn.cugraph_loading import Components
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler

HERE = torch.cuda.is_available() and importlib.util.find_spec("cugraph_pyg") is not None
CUGRAPH = TrainingConfig.model_validate({"loader": {"kind": "cugraph"}, "device": "cuda"})


def budget(store: GraphStore) -> BudgetSampler:
    counts = (store.node_counts, store.edge_counts)
    return BudgetSampler(*counts, max_nodes=600, max_edges=2400, shuffle=True, seed=1)


def assert_same(ours: GraphBatch, theirs: GraphBatch) -> None:
    for field in fields(GraphBatch):
        a, b = getattr(ours, field.name).cpu(), getattr(theirs, field.name).cpu()
        assert a.dtype == b.dtype, field.name
        assert torch.equal(a, b), field.name


class FakeFeatures(dict[tuple[Any, str, None], Tensor]):
    """cugraph_pyg.data.FeatureStore, as far as the loader uses it."""

    def __init__(self, location: str) -> None:
        super().__init__()


class FakeGraph:
    """cugraph_pyg.data.GraphStore, as far as the loader uses it."""

    def put_edge_index(self, ends: Tensor, kind: object, layout: str, is_sorted: bool, size: object) -> None:
        assert layout == "coo"
        self.ends = ends.clone()


class FakeNeighbours:
    """cugraph_pyg.loader.NeighborLoader of one hop: all edges into the seeds, everything in an order of its own."""

    leave_out = 0

    def __init__(
        self,
        data: tuple[FakeFeatures, FakeGraph],
        num_neighbors: list[int],
        input_nodes: Tensor,
        batch_size: int,
        local_seeds_per_call: int,
        compression: str,
        shuffle: bool,
    ) -> None:
        assert num_neighbors == [-1]
        assert len(input_nodes.unique()) == len(input_nodes) == batch_size == local_seeds_per_call
        self.features, self.ends, self.seeds = data[0], data[1].ends, input_nodes

    def __iter__(self) -> Iterator[SimpleNamespace]:
        e_id = torch.isin(self.ends[1], self.seeds).nonzero()[:, 0]
        e_id = e_id[torch.randperm(len(e_id))][self.leave_out :]
        n_id = torch.cat([self.seeds, self.ends[:, e_id].flatten()]).unique()
        n_id = n_id[torch.randperm(len(n_id))]
        place = torch.full((int(self.ends.max()) + 1,), -1)
        place[n_id] = torch.arange(len(n_id))
        sampled = SimpleNamespace(n_id=n_id, e_id=e_id, edge_index=place[self.ends[:, e_id]])
        for (group, name, _), values in self.features.items():
            setattr(sampled, name, values[e_id if isinstance(group, tuple) else n_id])
        yield sampled


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("cugraph_pyg")
    package.data = SimpleNamespace(FeatureStore=FakeFeatures, GraphStore=FakeGraph)
    package.loader = SimpleNamespace(NeighborLoader=FakeNeighbours)
    monkeypatch.setitem(sys.modules, "cugraph_pyg", package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cugraph_loading, "_one_process", lambda: None)
    return package


def sampled_loader(store: GraphStore) -> cugraph_loading.CugraphLoader:
    return cugraph_loading.CugraphLoader(store, budget(store), device="cpu")


def test_the_kind_chooses_the_loader_and_changes_no_result() -> None:
    assert TrainingConfig().loader == PackedLoader()
    assert CUGRAPH.loader == CugraphLoader(location="cpu")
    assert science(CUGRAPH) == science(TrainingConfig())
    with pytest.raises(ValueError, match="kind must be packed or cugraph"):
        TrainingConfig.model_validate({"loader": {"kind": "dgl"}})


def test_where_there_is_no_device_it_says_what_gives_the_same(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    store = world.store("train")
    with pytest.raises(ExtraMissing, match=r"runs on CUDA.*Use training.loader.kind=packed"):
        graph_loader(store, budget(store), CUGRAPH)


def test_where_the_library_is_missing_it_says_what_to_install(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cugraph_pyg", None)
    store = world.store("train")
    with pytest.raises(ExtraMissing, match=r"needs cugraph-pyg.*Install cugraph-pyg-cu12"):
        graph_loader(store, budget(store), CUGRAPH)


def test_a_release_without_the_feature_store_is_told(world: TinyWorld, fake: ModuleType) -> None:
    fake.data = SimpleNamespace(GraphStore=FakeGraph)
    store = world.store("train")
    with pytest.raises(ExtraMissing, match=r"has no FeatureStore.*26\.10"):
        graph_loader(store, budget(store), CUGRAPH)


def test_a_training_on_the_cpu_cannot_have_it(world: TinyWorld) -> None:
    store = world.store("train")
    with pytest.raises(ConfigError, match=r"training.device is cpu"):
        graph_loader(store, budget(store), CUGRAPH.model_copy(update={"device": "cpu"}))


def test_an_epoch_of_a_shuffled_sample_is_the_packed_epoch_to_the_bit(
    world: TinyWorld, fake: ModuleType
) -> None:
    store = world.store("train")
    store = store.subset(np.flatnonzero(store.y_G == 0)[::-1])  # A view in another order than the folder's.
    ours, theirs = sampled_loader(store), GraphLoader(store, budget(store))
    for epoch in (0, 1):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        pairs = list(zip(ours, theirs, strict=True))
        assert len(pairs) == len(ours) > 1
        for a, b in pairs:
            assert_same(a, b)


def test_an_epoch_goes_on_in_the_middle(world: TinyWorld, fake: ModuleType) -> None:
    store = world.store("train")
    whole, resumed = sampled_loader(store), sampled_loader(store)
    resumed.resume({"epoch": 0, "batch": 2})
    assert [b.index.tolist() for b in resumed] == [b.index.tolist() for b in whole][2:]


def test_a_graph_may_come_more_than_once_in_a_batch(world: TinyWorld, fake: ModuleType) -> None:
    store, idx = world.store("train"), [3, 1, 3, 3, 0]
    assert_same(sampled_loader(store)._gather(idx), GraphBatch.of(store.gather(idx)))


@pytest.mark.parametrize(("what", "drop"), [("nodes", "n_id"), ("edges", "e_id")])
def test_a_sample_that_lacks_a_part_of_a_graph_is_refused(world: TinyWorld, what: str, drop: str) -> None:
    whole = world.batch("train", [0, 1, 2])
    components = Components.of(whole, "cpu")
    parts = {"n_id": torch.arange(whole.num_nodes), "e_id": torch.arange(whole.num_edges)}
    parts[drop] = parts[drop][1:]
    with pytest.raises(DataError, match=f"left out {what} of a chosen graph"):
        components.batch([0, 2], SimpleNamespace(**vars(whole), **parts))


def test_no_graphs_are_a_batch_without_nodes(world: TinyWorld) -> None:
    whole = world.batch("train", [0, 1, 2])
    parts = {"n_id": torch.arange(whole.num_nodes), "e_id": torch.arange(whole.num_edges)}
    none = Components.of(whole, "cpu").batch([], SimpleNamespace(**vars(whole), **parts))
    assert (none.num_graphs, none.num_nodes, none.num_edges) == (0, 0, 0)


def test_a_process_alone_becomes_a_group_of_one_without_address_or_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "")  # Or what is set in the test would stay.
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    try:
        cugraph_loading._one_process("gloo")
        cugraph_loading._one_process("gloo")
        assert os.environ["LOCAL_WORLD_SIZE"] == "1"
        assert torch.distributed.get_world_size() == 1
    finally:
        torch.distributed.destroy_process_group()


def test_more_processes_than_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="in 2 processes"):
        cugraph_loading._one_process()


@pytest.mark.skipif(not HERE, reason="needs a CUDA device and cugraph-pyg")
@pytest.mark.parametrize("location", ["cpu", "cuda"])
def test_cugraph_samples_the_packed_batches(world: TinyWorld, location: str) -> None:
    store = world.store("train")
    training = CUGRAPH.model_copy(update={"loader": CugraphLoader(location=location)})
    ours, theirs = graph_loader(store, budget(store), training), GraphLoader(store, budget(store))
    for a, b in zip(ours, theirs, strict=True):
        assert a.x.is_cuda
        assert_same(a, b)
    idx = [3, 1, 3, 0]
    assert_same(ours._gather(idx), GraphBatch.of(store.gather(idx)))
