"""What a variant gained: paired, with an interval, from one seed or several."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
from evaluation_data import events, output, scored, windows, world

from candor.ids.config import EvaluationConfig
from candor.ids.evaluation import evaluate
from candor.report.gains import difference, gain_table, size

TRUTH = np.array([0] * 60 + [1] * 30 + [0] * 30)
HAPPENED = events(("v", "dos", 60.2, 89.5), ("c", "dos", 60.2, 89.5))


def scores(variant: str, noise: float, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng([seed, int(noise * 100)])
    rows = pl.concat([windows("v", TRUTH, split="val", scenario=""), windows("c", TRUTH)])
    values = np.concatenate([TRUTH + rng.normal(0, 0.1, 120), TRUTH + rng.normal(0, noise, 120)])
    return scored(rows, values, variant=variant, seed=seed)


def compared(folder: Path, seeds: tuple[int, ...]) -> pl.DataFrame:
    parts = {f"{v}{s}": scores(v, noise, s) for s in seeds for v, noise in (("kd", 0.1), ("alone", 1.2))}
    out = output(folder)
    config = EvaluationConfig(bootstrap=100, block_windows=5, compare=(("kd", "alone"),))
    evaluate(config, world(folder, parts, HAPPENED), out)
    return pl.read_parquet(out.path / "effects.parquet")


def test_a_real_gain_has_an_interval_above_nothing(tmp_path: Path) -> None:
    for seeds, method in (((1,), "bootstrap"), ((1, 2, 3, 4, 5), "paired t over 5 seeds")):
        table = compared(tmp_path / str(len(seeds)), seeds)
        row = table.filter(metric="auroc", scenario="s").row(0, named=True)
        assert row["seeds"] == len(seeds)
        assert method in row["method"]
        assert len(seeds) > 1 or "one capture of a kind" in row["method"]
        assert row["value"] > 0.1
        assert row["low"] > 0
        if len(seeds) == 1:
            assert (row["size"], row["size_low"], row["size_reason"]) == (
                None,
                None,
                "no size: one seed has no spread",
            )
        else:
            assert 0 < row["size_low"] < row["size"] < row["size_high"]
        assert (
            row["first"] - row["second"] == row["value"]
            or abs(row["first"] - row["second"] - row["value"]) < 1e-9
        )


def test_a_size_is_written_with_its_interval_or_with_why_there_is_none(tmp_path: Path) -> None:
    assert size({"size": 1.2, "size_low": -0.42, "size_high": 2.71}) == "+1.2 [−0.42, +2.71]"
    assert size({"size": None}) == "–"
    assert '<abbr title="no size: one seed has no spread">–</abbr>' in gain_table(compared(tmp_path, (1,)))
    several = gain_table(compared(tmp_path / "more", (1, 2, 3)))
    assert re.search(r"\+[\d.]+ \[[+−][\d.]+, \+[\d.]+\]", several)


def test_the_page_writes_differences_with_their_signs(tmp_path: Path) -> None:
    table = compared(tmp_path, (1,))
    html = gain_table(table)
    assert re.search(r"\+0\.\d{3} \[\+?−?0", html)
    assert difference({"value": -0.02, "low": None, "high": None}) == "−0.020"
