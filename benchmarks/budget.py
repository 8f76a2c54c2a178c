"""How much of a memory budget batches use: by node and edge budgets, against a fixed number of graphs per batch."""

from __future__ import annotations

import numpy as np

from benchmarks import traffic
from benchmarks.timing import Measurement, save
from candor.ids.graphs.kernels import build_windows
from candor.ids.graphs.stream import prepare, relate
from candor.learn.sampling import BudgetSampler

FRAMES, MAX_NODES, MAX_EDGES = 1_000_000, 4096, 16384


def use(batches: list[list[int]], nodes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the budget of each batch: of nodes or of edges, whichever runs out first."""
    return np.array([max(nodes[b].sum() / MAX_NODES, edges[b].sum() / MAX_EDGES) for b in batches])


def fixed(nodes: np.ndarray, edges: np.ndarray) -> list[list[int]]:
    """The usual rule: as many graphs as would fit if each were as large as the 95th percentile."""
    per_graph = max(np.percentile(nodes, 95) / MAX_NODES, np.percentile(edges, 95) / MAX_EDGES)
    order = np.random.default_rng(0).permutation(len(nodes))
    size = max(int(1 / per_graph), 1)
    return [order[i : i + size].tolist() for i in range(0, len(order), size)]


def run() -> list[Measurement]:
    stream = prepare(traffic.capture(FRAMES))
    relative = relate(stream, traffic.profile())
    figures: dict[str, object] = {}
    worst, over = 1.0, 0
    # Windows of several lengths in one set: small graphs fill any budget, large and unequal ones leave holes.
    for name, widths in {"100 frames": (100,), "mixed 100..5000": (100, 1000, 5000)}.items():
        graphs = [
            build_windows(stream, relative, traffic.starts(FRAMES, w, w // 2), window_frames=w)
            for w in widths
        ]
        nodes = np.concatenate([g.node_counts_G for g in graphs])
        edges = np.concatenate([g.edge_counts_G for g in graphs])
        options = {"max_nodes": MAX_NODES, "max_edges": MAX_EDGES}
        packed = use(list(BudgetSampler(nodes, edges, shuffle=True, seed=0, **options)), nodes, edges)
        rule = use(fixed(nodes, edges), nodes, edges)
        worst, over = min(worst, float(packed.mean())), over + int((packed > 1).sum())
        figures |= {
            f"{name}: use": round(float(packed.mean()), 4),
            f"{name}: p95 rule": round(float(rule.mean()), 4),
            f"{name}: batches over budget, p95 rule": int((rule > 1).sum()),
        }
    figures["batches over budget"] = over
    reached = worst if not over else 0.0
    return [Measurement("budget_use", reached, 0.95, "share of the budget", "sizes of the graphs", figures)]


if __name__ == "__main__":
    save(run())
