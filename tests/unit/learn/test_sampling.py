from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import ConfigError
from candor.learn.sampling import BudgetSampler, OversizedGraph

counts = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), max_size=60)


def sampler(pairs: list[tuple[int, int]], **options: object) -> BudgetSampler:
    nodes, edges = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    defaults: dict = {"max_nodes": 40, "max_edges": 80, "shuffle": True, "seed": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OversizedGraph)
        return BudgetSampler(nodes, edges, **(defaults | options))


@settings(max_examples=150, deadline=None)
@given(counts, st.integers(1, 5), st.integers(1, 8), st.integers(0, 3), st.booleans())
def test_ranks_share_an_epoch_without_loss_or_repetition_in_equally_many_steps(
    pairs: list[tuple[int, int]], world_size: int, min_steps: int, epoch: int, shuffle: bool
) -> None:
    shares = []
    for rank in range(world_size):
        s = sampler(pairs, rank=rank, world_size=world_size, min_steps_per_epoch=min_steps, shuffle=shuffle)
        s.set_epoch(epoch)
        shares.append(list(s))
    assert sorted(i for share in shares for b in share for i in b) == list(range(len(pairs)))
    steps = [len(share) for share in shares]
    if len(pairs) >= world_size * max(min_steps, max(steps, default=0)):
        assert len(set(steps)) == 1
        assert steps[0] >= min_steps
    for b in (b for share in shares for b in share):
        assert len(b) == 1 or (sum(pairs[i][0] for i in b) <= 40 and sum(pairs[i][1] for i in b) <= 80)


def test_a_generous_budget_still_gives_the_steps_asked_for_of_about_equal_size() -> None:
    s = sampler([(5, 5)] * 100, max_nodes=10_000, max_edges=10_000, min_steps_per_epoch=8)
    sizes = [len(b) for b in s]
    assert len(sizes) >= 8
    assert max(sizes) <= 13


def test_shuffled_graphs_of_any_size_fill_the_budget() -> None:
    rng = np.random.default_rng(0)
    nodes = rng.integers(50, 1000, 5000)
    s = BudgetSampler(nodes, nodes, max_nodes=3000, max_edges=10**9, shuffle=True, seed=0)
    use = [nodes[b].sum() / 3000 for b in s]
    assert np.mean(use) > 0.95
    assert max(use) <= 1


def test_an_epoch_goes_on_where_it_was_left_and_the_next_is_whole() -> None:
    pairs = [(5, 5)] * 100
    whole = list(sampler(pairs))
    interrupted = sampler(pairs)
    batches = iter(interrupted)
    done = [next(batches) for _ in range(4)]
    resumed = sampler(pairs)
    resumed.load_state_dict(interrupted.state_dict())
    assert len(resumed) == len(whole)
    assert done + list(resumed) == whole
    assert resumed.state_dict() == {"epoch": 0, "batch": len(whole)}
    assert list(resumed) == whole


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank 2 of a world of 2"):
        sampler([(1, 1)], rank=2, world_size=2)
