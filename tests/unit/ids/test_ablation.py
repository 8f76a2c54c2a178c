from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from evaluation_data import events, output, scored, windows, world

from candor.errors import ConfigError
from candor.ids.ablation import BASE, cells, table
from candor.ids.config import EvaluationConfig
from candor.ids.evaluation import evaluate

TRUTH = np.array([0] * 60 + [1] * 30 + [0] * 30)


def evaluated(folder: Path, noise: float, seeds: tuple[int, ...] = (1,), stop: int = 120) -> Path:
    parts = {}
    for seed in seeds:
        rng = np.random.default_rng([seed, int(noise * 10)])
        rows = pl.concat([windows("v", TRUTH, split="val", scenario=""), windows("c", TRUTH[:stop])])
        values = np.concatenate([TRUTH + rng.normal(0, 0.1, 120), TRUTH[:stop] + rng.normal(0, noise, stop)])
        parts[str(seed)] = scored(rows, values, seed=seed)
    out = output(folder)
    happened = events(("v", "dos", 60.2, 89.5), ("c", "dos", 60.2, 89.5))
    evaluate(EvaluationConfig(bootstrap=20), world(folder, parts, happened), out)
    return out.path


def test_cells_are_the_base_and_every_value_alone() -> None:
    found = cells(["gat.conv.kind=gat,gatv2", "gat.pooling=[mean,max],[sum]"])
    assert [c.name for c in found] == [
        BASE,
        "gat.conv.kind=gat",
        "gat.conv.kind=gatv2",
        "gat.pooling=[mean,max]",
        "gat.pooling=[sum]",
    ]
    assert found[0].sets == ()
    assert found[3].sets == ("gat.pooling=[mean,max]",)


@pytest.mark.parametrize("axes", [["gat.conv.kind"], ["=x"], ["a="], ["a=1,,2"], ["a=1", "a=1"]])
def test_what_is_no_axis_is_refused(axes: list[str]) -> None:
    with pytest.raises(ConfigError):
        cells(axes)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3, 4)])
def test_a_worse_cell_has_an_interval_below_nothing(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    folders = {
        BASE: evaluated(tmp_path / "a", 0.1, seeds),
        "gat.hidden=2": evaluated(tmp_path / "b", 1.5, seeds),
    }
    base, worse = table(folders, detectors=["gat"], metrics=["auroc"])
    assert base["metrics"]["auroc"]["difference"] is None
    found = worse["metrics"]["auroc"]
    assert found["high"] < 0
    assert found["seeds"] == len(seeds)


def test_other_windows_and_one_seed_give_no_interval_and_say_so(tmp_path: Path) -> None:
    folders = {BASE: evaluated(tmp_path / "a", 0.1), "x=1": evaluated(tmp_path / "b", 0.1, stop=110)}
    found = table(folders, detectors=["gat"], metrics=["f1"])[1]["metrics"]["f1"]
    assert found["low"] is None
    assert "other windows" in found["reason"]


def test_an_unknown_detector_or_metric_is_told_with_the_known_ones(tmp_path: Path) -> None:
    folders = {BASE: evaluated(tmp_path / "a", 0.1)}
    with pytest.raises(ConfigError, match="gat"):
        table(folders, detectors=["gate"], metrics=["f1"])
    with pytest.raises(ConfigError, match="auroc"):
        table(folders, detectors=["gat"], metrics=["auc"])
