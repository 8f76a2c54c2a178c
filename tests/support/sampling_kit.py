"""Batches of graphs of which only the sizes are known."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from hypothesis import strategies as st

from candor.learn.sampling import BudgetSampler, OversizedGraph

#: (nodes, edges) of up to 60 graphs, some of them larger than ``sampler``'s budget.
counts = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), max_size=60)


def sampler(pairs: list[tuple[int, int]], **options: Any) -> BudgetSampler:
    """Shuffled batches of up to 40 nodes and 80 edges, unless told otherwise."""
    nodes, edges = (np.array([p[i] for p in pairs], np.int64) for i in (0, 1))
    defaults: dict[str, Any] = {"max_nodes": 40, "max_edges": 80, "shuffle": True, "seed": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OversizedGraph)
        return BudgetSampler(nodes, edges, **(defaults | options))
