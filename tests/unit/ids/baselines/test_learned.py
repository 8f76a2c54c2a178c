"""Learned baselines: the rows they are given, what they learn from, and that they learn something."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from tiny_world import TinyWorld, output

from candor.flow.stage import Inputs
from candor.ids.baselines.learned import baselines, fit
from candor.ids.baselines.outliers import baselines_pygod
from candor.ids.baselines.statistics import window_statistics
from candor.ids.config import BaselinesConfig
from candor.ids.graphs.features import NODE_NAMES

QUICK = BaselinesConfig(boosting_rounds=30, forest_trees=30)


def test_statistics_are_those_of_the_windows_own_nodes(world: TinyWorld) -> None:
    x, names = window_statistics(world.build_test / "test")
    store = world.store("test")
    assert x.shape == (len(store), len(names))
    assert not any("byte_0" in n or n.startswith("share_") for n in names)  # They describe one vehicle.
    column = NODE_NAMES.index("early_share")
    for i in (0, len(store) - 1):
        own = store.gather([i]).x_ND[:, column]
        for view in ("mean", "max", "min", "std"):
            assert x[i, names.index(f"early_share_{view}")] == pytest.approx(getattr(np, view)(own), abs=1e-6)
        assert x[i, names.index("window_load")] == store.gather([i]).x_ND[0, NODE_NAMES.index("window_load")]


@pytest.mark.parametrize("kind", ["boosted_trees", "isolation_forest", "transitions"])
def test_a_baseline_needs_no_test_window_to_learn_and_ranks_attacks_above_benign(
    world: TinyWorld, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(world.build_train, tmp_path / "train_only")
    fitted = fit(kind, QUICK, tmp_path / "train_only")
    store = world.store("val")
    score = fitted.score(world.build_train / "val")
    assert len(score) == len(store)
    assert roc_auc_score(store.y_G, score) > 0.6
    again = fit(kind, QUICK, world.build_train).score(world.build_train / "val")
    np.testing.assert_allclose(score, again)


def test_a_transition_never_seen_surprises_more_than_a_usual_one(world: TinyWorld) -> None:
    fitted = fit("transitions", QUICK, world.build_train)
    benign = world.store("train").y_G == 0
    known = fitted.score(world.build_train / "train")[benign]
    captures = world.store("test").meta["captures"]
    strange = [i for i, c in enumerate(captures) if c["vehicle"] == "car_c"]
    mine = np.isin(world.store("test").window_G["capture"], strange)
    assert fitted.score(world.build_test / "test")[mine].min() > np.quantile(known, 0.99)


def test_the_stage_writes_every_baseline_for_both_splits(world: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path)
    inputs = Inputs({"build_train": world.build_train, "build_test": world.build_test})
    baselines(QUICK, inputs, out)
    scores = pl.read_parquet(out.path / "scores.parquet")
    counts = scores.group_by("detector", "split").len()
    assert len(counts) == 6
    assert set(scores["variant"]) == {"baseline"}


def test_outlier_detectors_of_pygod_score_every_window(world: TinyWorld, tmp_path: Path) -> None:
    pytest.importorskip("pygod")
    out = output(tmp_path)
    config = BaselinesConfig(pygod=("dominant", "ocgnn"), pygod_windows=60, pygod_epochs=2, pygod_hidden=8)
    baselines_pygod(config, Inputs({"build_train": world.build_train, "build_test": world.build_test}), out)
    scores = pl.read_parquet(out.path / "scores.parquet")
    test = scores.filter(pl.col("split") == "test")
    for kind in ("dominant", "ocgnn"):
        rows = test.filter(detector=kind)
        assert len(rows) == len(world.store("test"))
        assert (out.path / f"{kind}.safetensors").is_file()
    flooding = test.filter(detector="dominant", attack="flooding")["score"].median()
    assert flooding > test.filter(detector="dominant", y=0)["score"].median()  # type: ignore[operator]
