"""Learned baselines: the rows they are given, what they learn from, and that they learn something."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score
from tiny_world import TinyWorld, output

from candor.flow.stage import Inputs
from candor.ids.baselines.learned import baselines, fit
from candor.ids.baselines.ngrams import NGrams
from candor.ids.baselines.outliers import Outliers, baselines_pygod
from candor.ids.baselines.statistics import window_statistics
from candor.ids.captures import frames as frame_tables
from candor.ids.config import BaselinesConfig
from candor.ids.graphs.features import NODE_NAMES
from candor.ids.graphs.store import WINDOW_DTYPE
from candor.ids.scoring import window_rows
from candor.learn.checkpoints import load_weights

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


def test_a_sequence_of_two_is_the_transition_of_the_graphs(world: TinyWorld) -> None:
    """What is counted in frames and what is read from edges are the same bigrams."""
    pairs = NGrams(2, QUICK.smoothing, world.build_train, world.ingest / "frames")
    for folder in (world.build_train / "val", world.build_test / "test"):
        expected = fit("transitions", QUICK, world.build_train).score(folder)
        np.testing.assert_allclose(pairs.score(folder), expected, rtol=1e-5)


def write_frames(ids: np.ndarray, path: Path) -> None:
    """Empty frames of these IDs, a millisecond apart."""
    n = len(ids)
    table = {
        "timestamp": np.arange(n) * 1e-3,
        "id": ids.astype(np.uint32),
        "data": [b""] * n,
        "dlc": [0] * n,
        "label": [0] * n,
        "attack": [""] * n,
        "flags": [0] * n,
        "channel": [""] * n,
    }
    frame_tables.write(pl.DataFrame(table, schema=frame_tables.COLUMNS), path)


def test_three_ids_tell_an_order_that_two_do_not(tmp_path: Path) -> None:
    """A B A C repeated, and A B A B … A C A C: the same pairs of neighbours, other triples."""
    usual = np.tile([1, 2, 1, 3], 600)
    strange = np.concatenate([usual[:40], np.tile([1, 2], 10), np.tile([1, 3], 10), usual[:40]])
    frames, train, test = tmp_path / "frames", tmp_path / "train", tmp_path / "test"
    frames.mkdir()
    for folder, name, ids in ((train / "train", "a", usual), (test, "b", strange)):
        write_frames(ids, frames / f"{name}.parquet")
        folder.mkdir(parents=True)
        window = np.zeros(len(ids) // 20, WINDOW_DTYPE)
        window["start"] = np.arange(len(window)) * 20
        np.save(folder / "window.npy", window)
        np.save(folder / "y.npy", np.zeros(len(window), np.uint8))
        meta = {"window": {"window_frames": 20}, "captures": [{"capture": name}]}
        (folder / "meta.json").write_text(json.dumps(meta))
    two, three = (NGrams(order, 0.1, train, frames).score(test) for order in (2, 3))
    assert two[2:4].max() - two[[0, 1, 4, 5]].max() < 0.1
    assert three[2:4].min() > three[[0, 1, 4, 5]].max() + 1


def test_longer_sequences_rank_attacks_too_and_no_test_frame_teaches_them(
    world: TinyWorld, tmp_path: Path
) -> None:
    config = BaselinesConfig(learned=("transitions",), ngram_order=3)
    out, graphs = output(tmp_path), {"build_train": world.build_train, "build_test": world.build_test}
    baselines(config, Inputs({**graphs, "ingest": world.ingest}), out)
    val = pl.read_parquet(out.path / "scores.parquet").filter(split="val")
    assert roc_auc_score(val["y"], val["score"]) > 0.6
    only = tmp_path / "frames"
    only.mkdir()
    for split in ("train", "val"):
        for capture in world.store(split).meta["captures"]:
            path = f"{capture['capture']}.parquet"
            shutil.copy(world.ingest / "frames" / path, only / path)
    again = fit("transitions", config, world.build_train, only).score(world.build_train / "val")
    rows = window_rows(world.build_train / "val", "val")
    expected = rows.join(val, on=["capture", "window"], how="left", maintain_order="left")["score"]
    np.testing.assert_allclose(again, expected.to_numpy())


def test_sequences_are_the_same_however_many_windows_are_held_at_once(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores() -> np.ndarray:
        fitted = NGrams(3, 0.1, world.build_train, world.ingest / "frames")
        return fitted.score(world.build_train / "val")

    whole = scores()
    monkeypatch.setattr("candor.ids.baselines.ngrams._WINDOWS", 3)
    np.testing.assert_array_equal(scores(), whole)


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
        again = Outliers(kind, config, world.build_train)
        load_weights(out.path / f"{kind}.safetensors", again.network)
        expected = window_rows(world.build_test / "test", "test").join(
            rows, on=["capture", "window"], how="left", maintain_order="left"
        )
        np.testing.assert_allclose(again.score(world.store("test")), expected["score"].to_numpy(), rtol=1e-5)
    flooding = test.filter(detector="dominant", attack="flooding")["score"].median()
    assert flooding > test.filter(detector="dominant", y=0)["score"].median()  # type: ignore[operator]
