from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_kit import counts, sampler

from candor.errors import ConfigError
from candor.learn.batching import GraphBatch, to_pyg
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler, OversizedGraph


@settings(max_examples=150, deadline=None)
@given(counts, st.booleans(), st.integers(0, 9), st.integers(1, 40), st.integers(1, 80), st.integers(1, 4))
def test_every_graph_comes_once_and_only_singletons_exceed_a_budget(
    pairs: list[tuple[int, int]], shuffle: bool, epoch: int, max_nodes: int, max_edges: int, smallest: int
) -> None:
    s = sampler(pairs, shuffle=shuffle, max_nodes=max_nodes, max_edges=max_edges, min_batch_size=smallest)
    s.set_epoch(epoch)
    expected = len(s)
    batches = list(s)
    assert len(batches) == expected
    assert sorted(i for b in batches for i in b) == list(range(len(pairs)))
    for b in batches:
        nodes, edges = sum(pairs[i][0] for i in b), sum(pairs[i][1] for i in b)
        assert len(b) == 1 or (nodes <= max_nodes and edges <= max_edges)


@settings(deadline=None)
@given(counts, st.integers(0, 9))
def test_the_same_seed_and_epoch_give_the_same_batches(pairs: list[tuple[int, int]], epoch: int) -> None:
    a, b = sampler(pairs), sampler(pairs)
    a.set_epoch(3)
    list(a)
    for s in (a, b):
        s.set_epoch(epoch)
    assert list(a) == list(b)


def test_epochs_and_seeds_differ_and_iterating_twice_does_not() -> None:
    pairs = [(5, 5)] * 200
    s = sampler(pairs)
    first, again = list(s), list(s)
    s.set_epoch(1)
    assert first == again
    assert first != list(s)
    assert first != list(sampler(pairs, seed=2))


def test_without_shuffle_the_order_is_that_of_the_store_in_every_epoch() -> None:
    s = sampler([(10, 10)] * 10, shuffle=False)
    s.set_epoch(5)
    assert list(s) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_oversized_graph_travels_alone_with_a_warning_and_does_not_split_the_open_batch() -> None:
    with pytest.warns(OversizedGraph, match="1 of 3 graphs exceed the budget of 40 nodes and 80 edges"):
        s = BudgetSampler([10, 41, 10], [1, 1, 1], max_nodes=40, max_edges=80, shuffle=False, seed=0)
    assert sorted(s) == [[0, 2], [1]]


def test_a_small_last_batch_borrows_from_the_one_before() -> None:
    assert list(sampler([(10, 1)] * 5, shuffle=False, min_batch_size=2)) == [[0, 1, 2], [3, 4]]


def test_drop_last_drops_only_the_last_batch() -> None:
    s = sampler([(10, 1)] * 9, shuffle=False, drop_last=True)
    assert (len(s), [len(b) for b in s]) == (2, [4, 4])


def test_no_graphs_make_no_batches() -> None:
    s = sampler([])
    assert len(s) == 0
    assert list(s) == []


def test_senseless_budgets_and_unequal_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        sampler([(1, 1)], max_nodes=0)
    with pytest.raises(ConfigError, match="2 node counts, but 1 edge counts"):
        BudgetSampler([1, 1], [1], max_nodes=5, max_edges=5, shuffle=False, seed=0)


def test_it_can_be_sent_to_a_worker_process() -> None:
    s = sampler([(5, 5)] * 20)
    assert list(pickle.loads(pickle.dumps(s))) == list(s)  # noqa: S301 - a round trip of our own object


class Source:
    """Graph i: i+1 nodes in a ring, features i."""

    def __init__(self, num_graphs: int) -> None:
        self.node_counts = np.arange(1, num_graphs + 1)
        self.edge_counts = self.node_counts

    def gather(self, idx: list[int]) -> SimpleNamespace:
        n = [i + 1 for i in idx]
        ptr = np.r_[0, np.cumsum(n)]
        ring = [np.stack([np.arange(k), (np.arange(k) + 1) % k]) + p for k, p in zip(n, ptr, strict=False)]
        total = int(ptr[-1])
        return SimpleNamespace(
            x_ND=np.repeat(np.asarray(idx, np.float32), n)[:, None],
            node_id_N=np.full(total, 1 << 29, np.uint32),
            edge_index_2E=np.concatenate(ring, axis=1),
            edge_attr_E11=np.zeros((total, 11), np.float32),
            graph_of_node_N=np.repeat(np.arange(len(idx)), n),
            ptr=ptr,
            y_G=np.asarray([i % 2 for i in idx], np.uint8),
            attack_G=np.asarray([0 if i % 2 else -1 for i in idx], np.int16),
            node_y_N=np.zeros(total, np.uint8),
            index_G=np.asarray(idx, np.int64),
        )


def loader(num_graphs: int = 12, **options: object) -> GraphLoader:
    source = Source(num_graphs)
    return GraphLoader(
        source, sampler(list(zip(source.node_counts, source.edge_counts, strict=True)), **options)
    )


def test_the_loader_yields_tensors_of_the_promised_types() -> None:
    b = next(iter(loader()))
    assert b.x.dtype == b.edge_attr.dtype == torch.float32
    integers = (b.node_id, b.edge_index, b.batch, b.ptr, b.y, b.attack, b.node_y, b.index)
    assert {t.dtype for t in integers} == {torch.int64}
    assert b.num_graphs == len(b.y) == len(b.ptr) - 1
    assert b.num_nodes == int(b.ptr[-1])
    assert int(b.node_id.max()) == 1 << 29


def test_the_loader_covers_an_epoch_and_follows_set_epoch() -> None:
    lo = loader()
    seen = torch.cat([b.index for b in lo])
    assert sorted(seen.tolist()) == list(range(12))
    assert len(list(lo)) == len(lo)
    lo.set_epoch(1)
    assert torch.cat([b.index for b in lo]).tolist() != seen.tolist()


def test_batches_do_not_share_memory_with_later_ones() -> None:
    a, b = list(loader(shuffle=False))[:2]
    assert a.x.data_ptr() != b.x.data_ptr()


def test_moving_a_batch_keeps_everything() -> None:
    b = next(iter(loader()))
    moved = b.to("cpu")
    assert isinstance(moved, GraphBatch)
    assert torch.equal(moved.edge_index, b.edge_index)


def test_a_pyg_batch_has_the_same_graphs() -> None:
    b = next(iter(loader()))
    pyg = to_pyg(b)
    assert torch.equal(pyg.x, b.x)
    assert torch.equal(pyg.edge_index, b.edge_index)
    assert torch.equal(pyg.batch, b.batch)
    assert torch.equal(pyg.ptr, b.ptr)
    assert [g.num_nodes for g in pyg.to_data_list()] == (b.ptr[1:] - b.ptr[:-1]).tolist()


def test_lightning_advances_the_epoch_of_a_plain_loader() -> None:
    lightning = pytest.importorskip("lightning")
    orders: list[list[int]] = []

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: GraphBatch, _: int) -> torch.Tensor:
            orders.append(batch.index.tolist())
            return (batch.x.mean() * self.w).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
    )
    lo = loader(30)
    trainer.fit(Model(), lo)
    epochs = []
    for epoch in (0, 1):
        lo.set_epoch(epoch)
        epochs += [b.index.tolist() for b in lo]
    assert orders == epochs
