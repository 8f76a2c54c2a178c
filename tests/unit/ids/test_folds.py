"""Folds: the mean over datasets, and what has none."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from candor.errors import ConfigError
from candor.ids.folds import table
from candor.lake.schemas import METRICS


def evaluated(folder: Path, values: dict[tuple[str, str], list[float | None]]) -> Path:
    """results.parquet of one scenario: (detector, variant) → AUC-PR of each seed, and their mean where there are several."""
    rows = []
    for (detector, variant), of in values.items():
        seeds: list[tuple[int | None, float | None]] = [*enumerate(of, 1)]
        if len(of) > 1:
            seeds.append((None, sum(v or 0.0 for v in of) / len(of)))
        rows += [
            {"detector": detector, "variant": variant, "seed": seed, "value": value, "seeds": len(of)}
            | {
                "split": "test",
                "scenario": "s",
                "capture": "",
                "attack": "",
                "level": "window",
                "metric": "auc_pr",
            }
            for seed, value in seeds
        ]
    empty = pl.DataFrame(METRICS.empty_table())
    frame = pl.DataFrame(rows, {name: empty.schema[name] for name in rows[0]})
    folder.mkdir()
    pl.concat([empty, frame], how="diagonal").write_parquet(folder / "results.parquet")
    return folder


def test_every_fold_counts_alike_and_seeds_are_averaged_within(tmp_path: Path) -> None:
    one = evaluated(tmp_path / "a", {("gat", "student"): [1.0, 0.8], ("volume", "control"): [0.9]})
    two = evaluated(tmp_path / "b", {("gat", "student"): [0.6, 0.6], ("volume", "control"): [0.3]})
    found = table({"a": one, "b": two}, metrics=["auc_pr"])
    assert found.places == ["a: s", "b: s"]
    ours, control = (row["metrics"]["auc_pr"] for row in found.rows)
    assert ours["value"] == pytest.approx(0.75)
    assert ours["sd"] == pytest.approx(0.1 / 2**0.5)
    assert ours["places"] == pytest.approx([0.9, 0.6])
    assert (control["value"], control["sd"]) == (pytest.approx(0.6), None)
    assert [row["variant"] for row in found.rows] == ["student", "control"]
    assert found.notes == [
        "AUC-PR, mean over 2 scenarios: our best, gat student (0.750), beats the best of specialists, baselines and "
        "controls, volume (0.600)."
    ]


def test_a_detector_that_one_fold_lacks_has_no_mean(tmp_path: Path) -> None:
    one = evaluated(tmp_path / "a", {("gat", "student"): [1.0], ("volume", "control"): [0.9]})
    two = evaluated(tmp_path / "b", {("gat", "student"): [None], ("payload", "label_free"): [0.9]})
    rows = {
        row["detector"]: row["metrics"]["auc_pr"]
        for row in table({"a": one, "b": two}, metrics=["auc_pr"]).rows
    }
    assert {name: of["value"] for name, of in rows.items()} == {"gat": None, "payload": None, "volume": None}
    assert rows["payload"]["places"] == [None, 0.9]


def test_one_fold_and_an_unknown_metric_are_refused(tmp_path: Path) -> None:
    one = evaluated(tmp_path / "a", {("gat", "student"): [1.0]})
    with pytest.raises(ConfigError, match="two datasets or more"):
        table({"a": one}, metrics=["auc_pr"])
    with pytest.raises(ConfigError, match="no metric 'auc'"):
        table({"a": one, "b": one}, metrics=["auc"])
