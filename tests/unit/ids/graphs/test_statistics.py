from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_world import TinyWorld, output

from candor.flow.stage import Inputs
from candor.ids.config import ProfileConfig
from candor.ids.graphs.statistics import advice, graph_sizes, moments, profile


def test_moments_are_those_of_numpy_and_every_graph_is_in_a_bar() -> None:
    sizes = np.random.default_rng(0).integers(3, 90, 500)
    found = moments(sizes, 24)
    assert (found["mean"], found["sd"]) == (pytest.approx(sizes.mean()), pytest.approx(sizes.std()))
    assert found["cv"] == pytest.approx(sizes.std() / sizes.mean())
    assert (found["min"], found["max"], found["sum"]) == (sizes.min(), sizes.max(), sizes.sum())
    assert found["quantiles"]["0.95"] == pytest.approx(np.quantile(sizes, 0.95))
    assert sum(found["histogram"]["counts"]) == 500


def test_equal_graphs_are_one_bar_and_no_graph_none() -> None:
    assert moments(np.full(9, 7), 24)["histogram"] == {"edges": [7.0, 8.0], "counts": [9]}
    assert moments(np.zeros(0, np.int64), 24)["mean"] is None


@pytest.mark.parametrize(
    ("cv_nodes", "cv_edges", "said"),
    [
        (0.05, 0.1, "fixed batch size"),
        (0.2, 0.05, "node budget"),
        (0.05, 0.2, "edge budget"),
        (0.2, 0.2, "node budget and edge budget"),
    ],
)
def test_advice_follows_from_what_varies(cv_nodes: float, cv_edges: float, said: str) -> None:
    assert advice(cv_nodes, cv_edges, 0.1) == said


def test_bytes_are_those_of_the_folder(world: TinyWorld) -> None:
    store = world.store("train")
    on_disk = sum(np.load(p, mmap_mode="r").nbytes for p in store.path.glob("*.npy"))
    ends = store.node_ptr.itemsize + store.edge_ptr.itemsize  # One more than graphs.
    assert graph_sizes(store)["bytes"].sum() == on_disk - ends


def test_the_stage_describes_each_split_and_scenario(world: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path)
    inputs = Inputs({"build_train": world.build_train, "build_test": world.build_test})
    result = profile(ProfileConfig(), inputs, out)
    content = json.loads((out.path / "profile.json").read_text())
    groups = {(g["split"], g["scenario"]): g for g in content["groups"]}
    assert {split for split, _ in groups} == {"train", "val", "test"}
    parts = [g["graphs"] for (split, scenario), g in groups.items() if split == "test" and scenario]
    assert sum(parts) == groups["test", ""]["graphs"] == len(world.store("test"))
    assert result.summary["advice"] == content["advice"] == groups["train", ""]["advice"]
    page = (out.path / "index.html").read_text()
    assert page.count("<svg") == 3 * len(groups)
    assert "http" not in page.split("<main>")[1]
