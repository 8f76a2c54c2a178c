"""How large graphs are, how much that varies, and what it means for batching.

Legend: G graphs of a group (a split, or a scenario of one).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ProfileConfig
from candor.ids.graphs.statistics_page import page
from candor.ids.graphs.store import ARRAYS, GraphStore

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUANTITIES: Final = ("nodes", "edges", "bytes")

#: Advice by (nodes vary, edges vary).
ADVICE: Final = {
    (False, False): "fixed batch size",
    (True, False): "node budget",
    (False, True): "edge budget",
    (True, True): "node budget and edge budget",
}


def profile(config: ProfileConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: writes ``profile.json`` ({"groups", "rule", "advice"}) and a page, ``index.html``.

    The advice is that of the training graphs: batches of other splits are cut alike, and need no gradient memory.
    """
    train, test = inputs.path("build_train"), inputs.path("build_test")
    stores = [GraphStore.open(folder) for folder in (train / "train", train / "val", test / "test")]
    groups = []
    for done, store in enumerate(stores):
        groups += [describe(name, sizes, config) for name, sizes in _groups(store)]
        out.progress(done + 1, len(stores), store.meta["split"])
    content = {"rule": rule(config.alike_cv), "advice": groups[0]["advice"], "groups": groups}
    (out.path / "profile.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (out.path / "index.html").write_text(page(content), encoding="utf-8")
    summary = {q: _summary(groups[0], q) for q in QUANTITIES}
    return Result({"advice": content["advice"], "graphs": groups[0]["graphs"], **summary})


def rule(alike_cv: float) -> str:
    """How the advice follows from the coefficients of variation."""
    return (
        f"A size varies if its coefficient of variation (standard deviation / mean) exceeds {alike_cv:g}. "
        "Neither nodes nor edges vary: a fixed batch size fills memory evenly. One of them varies: a budget of it "
        "bounds a batch. Both vary: both budgets, as neither bounds the other."
    )


def advice(cv_nodes: float, cv_edges: float, alike_cv: float) -> str:
    """``fixed batch size``, ``node budget``, ``edge budget`` or both budgets."""
    return ADVICE[cv_nodes > alike_cv, cv_edges > alike_cv]


def graph_sizes(store: GraphStore) -> dict[str, npt.NDArray[np.int64]]:
    """Nodes, edges and bytes on disk of every graph of the store, headers left out."""
    nodes, edges = store.node_counts, store.edge_counts
    per_node = 4 * store.x_ND.shape[1] + sum(ARRAYS[a].itemsize for a in ("node_id", "node_y"))
    per_edge = 4 * store.edge_attr_E11.shape[1] + 2 * ARRAYS["edge_index"].itemsize
    whole = sum(ARRAYS[a].itemsize for a in ("node_ptr", "edge_ptr", "y", "attack", "window"))
    return {"nodes": nodes, "edges": edges, "bytes": whole + per_node * nodes + per_edge * edges}


def _groups(store: GraphStore) -> Iterator[tuple[tuple[str, str], dict[str, npt.NDArray[np.int64]]]]:
    """((split, scenario), sizes) of the whole split, then of each of its scenarios if it has any."""
    split, sizes = str(store.meta["split"]), graph_sizes(store)
    yield (split, ""), sizes
    scenario_of = np.array([c["scenario"] for c in store.meta["captures"]] or [""])
    of_graph = scenario_of[store.window_G["capture"]] if len(store) else np.zeros(0, "<U1")
    for scenario in sorted({s for s in scenario_of.tolist() if s}):
        yield (split, scenario), {name: values[of_graph == scenario] for name, values in sizes.items()}


def describe(
    group: tuple[str, str], sizes: Mapping[str, npt.NDArray[np.int64]], config: ProfileConfig
) -> dict[str, Any]:
    """Statistics of one group; a group without a graph has counts of 0 and no moments."""
    graphs = len(sizes["nodes"])
    found: dict[str, Any] = {"split": group[0], "scenario": group[1], "graphs": graphs}
    found |= {name: moments(sizes[name], config.bins) for name in QUANTITIES}
    cvs = [found[name]["cv"] for name in ("nodes", "edges")]
    found["advice"] = None if None in cvs else advice(cvs[0], cvs[1], config.alike_cv)
    return found


def moments(values_G: npt.NDArray[np.int64], bins: int) -> dict[str, Any]:
    """Mean, sd, cv, min, max, sum, quantiles and a histogram ({"edges": bins + 1, "counts": bins})."""
    if not len(values_G):
        empty: dict[str, Any] = dict.fromkeys(("mean", "sd", "cv", "min", "max"))
        return {**empty, "sum": 0, "quantiles": {}, "histogram": {"edges": [], "counts": []}}
    mean, sd = float(values_G.mean()), float(values_G.std())
    low, high = int(values_G.min()), int(values_G.max())
    # Sizes are whole numbers: bars of a whole width, or neighbours would hold more of them by chance.
    width = -(-(high - low + 1) // bins)
    counts, edges = np.histogram(values_G, np.arange(low, high + 1 + width, width))
    return {
        "mean": mean,
        "sd": sd,
        "cv": sd / mean if mean else 0.0,
        "min": low,
        "max": high,
        "sum": int(values_G.sum()),
        "quantiles": {
            f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(values_G, QUANTILES), strict=True)
        },
        "histogram": {"edges": edges.astype(float).tolist(), "counts": counts.tolist()},
    }


def _summary(group: Mapping[str, Any], quantity: str) -> dict[str, Any]:
    keys: Sequence[str] = ("mean", "sd", "cv", "min", "max")
    return {key: group[quantity][key] for key in keys}
