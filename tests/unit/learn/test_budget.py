"""The search for a batch budget, and the batches it tries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import ConfigError
from candor.learn.budget import Probed, Range, find_budget, fullest_batches, memory_limit


class Machine:
    """A probe of a machine that holds so many nodes and edges."""

    def __init__(self, nodes: int, edges: int = 10**12) -> None:
        self.nodes, self.edges = nodes, edges
        self.asked: list[int] = []

    def __call__(self, max_nodes: int, max_edges: int) -> Probed:
        self.asked.append(max_nodes)
        return Probed(max_nodes, max_edges, max_nodes <= self.nodes and max_edges <= self.edges, max_nodes)


WIDE = Range(least_nodes=10, least_edges=40, most_nodes=10**7, edges_per_node=3.0)


@settings(max_examples=60, deadline=None)
@given(capacity=st.integers(10, 9 * 10**6), tolerance=st.floats(0.01, 0.5))
def test_the_largest_that_fits_is_found_within_the_tolerance(capacity: int, tolerance: float) -> None:
    machine = Machine(capacity)
    found = find_budget(machine, WIDE, safety=1.0, tolerance=tolerance)
    assert found.max_nodes <= capacity
    assert capacity <= found.max_nodes * (1 + tolerance) + 1
    assert len(machine.asked) == len(set(machine.asked))
    assert len(machine.asked) < 60


def test_safety_is_taken_off_the_largest_that_fitted() -> None:
    found = find_budget(Machine(1000), WIDE, safety=0.8, tolerance=0.001)
    assert found.max_nodes == int(0.8 * found.largest.max_nodes)
    assert found.max_edges == 3 * found.max_nodes
    assert not found.whole


def test_edges_bind_as_nodes_do() -> None:
    assert find_budget(Machine(10**9, edges=3000), WIDE, safety=1.0, tolerance=0.01).max_edges <= 3000


def test_a_set_that_fits_whole_ends_the_search_there() -> None:
    machine = Machine(10**9)
    found = find_budget(machine, WIDE)
    assert found.whole
    assert machine.asked[-1] == WIDE.most_nodes


def test_a_model_too_large_for_one_graph_is_told_with_its_reason() -> None:
    with pytest.raises(ConfigError, match=r"largest graph alone \(10 nodes, 40 edges\) does not fit"):
        find_budget(Machine(9), WIDE)


def test_the_range_is_that_of_the_graphs() -> None:
    nodes, edges = np.array([10, 20, 30]), np.array([20, 40, 240])
    within = Range.of(nodes, edges)
    assert (within.least_nodes, within.least_edges, within.most_nodes) == (30, 240, 60)
    assert 2 < within.edges_per_node <= 8
    assert within.edges(30) == 240
    with pytest.raises(ConfigError, match="no graph"):
        Range.of(nodes[:0], edges[:0])


def test_the_batches_tried_fill_the_budget_and_show_every_tail() -> None:
    rng = np.random.default_rng(0)
    nodes = rng.integers(5, 60, 4000)
    edges = (nodes * rng.uniform(1, 6, 4000)).astype(int)
    within = Range.of(nodes, edges)
    max_nodes = 6000
    batches = fullest_batches(nodes, edges, max_nodes, within.edges(max_nodes), rng)
    used = [(nodes[b].sum() / max_nodes, edges[b].sum() / within.edges(max_nodes)) for b in batches]
    assert all(n <= 1 and e <= 1 and max(n, e) > 0.95 for n, e in used)
    assert any(n > 0.98 for n, _ in used)
    assert any(e > 0.98 for _, e in used)
    assert any(nodes.argmax() in b for b in batches)
    assert max(len(b) for b in batches) > 2 * min(len(b) for b in batches)
    assert all(len(set(b.tolist())) == len(b) for b in batches)


def test_equal_batches_are_tried_once() -> None:
    nodes = np.full(4, 3)
    assert len(fullest_batches(nodes, nodes, 100, 100, np.random.default_rng(0))) == 1


def cgroup(root: Path, proc: Path, line: str, limits: dict[str, str]) -> None:
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   10000000 kB\n")
    (proc / "self" / "cgroup").write_text(line)
    for name, value in limits.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(value)


@pytest.mark.parametrize(
    ("line", "limits", "expected"),
    [
        ("0::/job/step\n", {"job/step/memory.max": "max\n", "job/memory.max": "4000000000\n"}, 4e9),
        ("0::/job\n", {"job/memory.max": "max\n"}, 10_000_000 * 1024),
        ("5:memory:/job\n", {"memory/job/memory.limit_in_bytes": "2000000000\n"}, 2e9),
        (
            "5:memory:/job\n3:cpu:/job\n",
            {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"},
            1.024e10,
        ),
    ],
)
def test_memory_is_what_is_free_and_what_the_job_may_use(
    tmp_path: Path, line: str, limits: dict[str, str], expected: float
) -> None:
    cgroup(tmp_path / "cgroup", tmp_path / "proc", line, limits)
    assert memory_limit(tmp_path / "proc", tmp_path / "cgroup") == int(0.8 * expected)
