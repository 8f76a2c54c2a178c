from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from candor.learn.batching import BufferSource
from candor.learn.loading import GraphLoader
from candor.learn.sampling import BudgetSampler


class Direct:
    """Graph i: two nodes with feature i and one edge; gathers into the loader's buffers."""

    def __init__(self, num_graphs: int, broken: int = -1) -> None:
        self.node_counts = np.full(num_graphs, 2)
        self.edge_counts = np.full(num_graphs, 1)
        self.broken = broken

    def gather(self, idx: Sequence[int]) -> SimpleNamespace:
        raise AssertionError("the loader gathers into its buffers")

    def gather_into(self, idx: Sequence[int], buffers: BufferSource) -> SimpleNamespace:
        if self.broken in idx:
            raise OSError("the disk has gone")
        b = len(idx)
        x = buffers.empty("x", (2 * b, 3), np.float32)
        x[:] = np.repeat(np.asarray(idx, np.float32), 2)[:, None]
        ends = buffers.empty("edge_index", (2, b), np.int64)
        ends[:] = 2 * np.arange(b)
        label = buffers.empty("y", (b,), np.int64)
        label[:] = 0
        return SimpleNamespace(
            x_ND=x,
            node_id_N=np.zeros(2 * b, np.int64),
            edge_index_2E=ends,
            edge_attr_E11=np.zeros((b, 11), np.float32),
            graph_of_node_N=np.repeat(np.arange(b), 2),
            ptr=2 * np.arange(b + 1),
            y_G=label,
            attack_G=label,
            node_y_N=np.zeros(2 * b, np.int64),
            index_G=np.asarray(idx, np.int64),
        )


def loader(num_graphs: int = 200, broken: int = -1, **options: int) -> GraphLoader:
    source = Direct(num_graphs, broken)
    sampler = BudgetSampler(
        source.node_counts, source.edge_counts, max_nodes=10, max_edges=99, shuffle=True, seed=1
    )
    return GraphLoader(source, sampler, **options)


def prefetchers() -> set[threading.Thread]:
    """Those of this process: an epoch that another test left has one until somebody collects it."""
    return {t for t in threading.enumerate() if t.name == "candor-prefetch"}


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_batches_that_are_held_keep_their_values_whatever_comes_after(prefetch: int) -> None:
    held = list(loader(prefetch=prefetch))
    assert sorted(torch.cat([b.index for b in held]).tolist()) == list(range(200))
    for b in held:
        assert b.x[::2, 0].tolist() == b.index.tolist()


def test_a_view_alone_keeps_a_batch_from_being_overwritten() -> None:
    views = [(b.x[1:].t(), int(b.index[0])) for b in loader()]
    assert all(int(view[0, 0]) == first for view, first in views)


def test_memory_is_used_again_once_a_batch_is_gone() -> None:
    places = set()
    for b in loader():
        places.add(b.x.data_ptr())
        del b
    assert len(places) <= 5


def test_prefetching_changes_neither_batches_nor_their_order() -> None:
    assert [b.index.tolist() for b in loader(prefetch=0)] == [b.index.tolist() for b in loader(prefetch=4)]


def test_an_error_of_the_source_reaches_the_one_who_iterates() -> None:
    before = prefetchers()
    with pytest.raises(OSError, match="the disk has gone"):
        list(loader(broken=77))
    assert prefetchers() <= before


def test_leaving_an_epoch_early_ends_the_thread() -> None:
    before = prefetchers()
    batches = iter(loader(2000))
    next(batches)
    assert len(prefetchers() - before) == 1
    batches.close()  # type: ignore[attr-defined]
    assert prefetchers() <= before


def test_an_epoch_goes_on_behind_the_batches_that_were_handed_out() -> None:
    whole = loader()
    whole.set_epoch(3)
    expected = [b.index.tolist() for b in whole]
    interrupted = loader()
    interrupted.set_epoch(3)
    batches = iter(interrupted)
    done = [next(batches).index.tolist() for _ in range(7)]
    resumed = loader()
    resumed.resume(interrupted.position())
    assert resumed.position()["epoch"] == 3
    assert done + [b.index.tolist() for b in resumed] == expected
    assert [b.index.tolist() for b in resumed] == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_batches_come_in_pinned_memory_and_survive_copies_that_are_still_under_way() -> None:
    pinned = loader(2000, pin_memory=True)
    moved = []
    for batch in pinned:
        assert batch.x.is_pinned()
        moved.append((batch.to("cuda", non_blocking=True), batch.index.tolist()))
        del batch
    torch.cuda.synchronize()
    for on_device, index in moved:
        assert on_device.x[::2, 0].tolist() == index
