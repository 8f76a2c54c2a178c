"""One factor at a time: an experiment as it stands, and once again for every value of every axis.

Everything a changed field does not touch has the same key in all of them, and is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from candor.errors import ConfigError
from candor.ids.scoring import WINDOW_KEY
from candor.learn.bootstrap import resample
from candor.learn.effects import ONE_SEED, Effect, over_draws, over_seeds
from candor.learn.metrics import binary_replicates, check_metrics

#: Name of the experiment without a change.
BASE: Final = "as it stands"


@dataclass(frozen=True)
class Cell:
    """One experiment of an ablation. ``name`` is BASE or ``key=value``; ``sets`` is what it changes."""

    name: str
    sets: tuple[str, ...]


def cells(axes: Sequence[str]) -> list[Cell]:
    """The base, then every value of every axis ``key=value,value``; commas inside brackets belong to a value.

    Raises ConfigError for an axis without a key or a value, or one that is named twice.
    """
    found = [Cell(BASE, ())]
    for axis in axes:
        key, equals, listed = axis.partition("=")
        values = [v.strip() for v in _split(listed)]
        if not equals or not key.strip() or not all(values):
            raise ConfigError(
                f"'{axis}' is no axis", place="--axis", hint="Write --axis gat.conv.kind=gat,gatv2."
            )
        found += [Cell(f"{key.strip()}={value}", (f"{key.strip()}={value}",)) for value in values]
    names = [c.name for c in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise ConfigError(f"'{twice}' is named twice", place="--axis", hint="Name every value once.")
    return found


def _split(listed: str) -> Iterator[str]:
    depth, begin = 0, 0
    for i, character in enumerate(listed):
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            yield listed[begin:i]
            begin = i + 1
    yield listed[begin:]


def table(
    evaluated: Mapping[str, Path], *, detectors: Sequence[str], metrics: Sequence[str], replicates: int = 200
) -> list[dict[str, Any]]:
    """One row per scenario, detector, variant and cell: every metric, and its difference from the base.

    Args:
        evaluated: name of each cell → its evaluate artifact, the base first.
        detectors: those to compare. metrics: window metrics, of `candor.learn.metrics.METRICS`.

    Raises ConfigError for an unknown metric, or a detector that the base does not have.
    """
    check_metrics(metrics)
    loaded = {name: _Evaluated.read(folder) for name, folder in evaluated.items()}
    base = loaded[BASE]
    known = base.results["detector"].unique().to_list()
    missing = next((d for d in detectors if d not in known), None)
    if missing:
        raise ConfigError(
            f"no detector '{missing}'", place="--detector", hint=f"Detectors: {', '.join(sorted(known))}."
        )
    places = base.results.filter(pl.col("detector").is_in(detectors)).select(
        "scenario", "detector", "variant"
    )
    rows = []
    for scenario, detector, variant in places.unique().sort("scenario", "detector", "variant").iter_rows():
        for name, cell in loaded.items():
            row: dict[str, Any] = {
                "scenario": scenario,
                "detector": detector,
                "variant": variant,
                "cell": name,
            }
            place = {"scenario": scenario, "detector": detector, "variant": variant}
            row["metrics"] = {m: _compared(cell, base, place, m, replicates) for m in metrics}
            rows.append(row)
    return rows


@dataclass(frozen=True)
class _Evaluated:
    """Rows of single seeds and whole scenarios, and the predictions behind them."""

    results: pl.DataFrame
    predictions: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> _Evaluated:
        results = pl.read_parquet(folder / "results.parquet").filter(
            pl.col("seed").is_not_null(), capture="", attack="", level="window"
        )
        return cls(results, pl.read_parquet(folder / "predictions.parquet"))

    def values(self, place: Mapping[str, str], metric: str) -> dict[int, float]:
        """Seed → value, of the seeds that have one."""
        rows = self.results.filter(**place, metric=metric).drop_nulls("value")
        return dict(rows.select("seed", "value").iter_rows())


def _compared(
    cell: _Evaluated, base: _Evaluated, place: Mapping[str, str], metric: str, replicates: int
) -> dict[str, Any]:
    """value, sd and seeds of the cell; difference and size with their intervals, method and reasons against the base."""
    own, other = cell.values(place, metric), base.values(place, metric)
    found = {
        "value": float(np.mean(list(own.values()))) if own else None,
        "sd": float(np.std(list(own.values()), ddof=1)) if len(own) > 1 else None,
        "seeds": len(own),
    }
    effect = (
        Effect(None, reason="the base itself")
        if cell is base
        else _effect(cell, base, own, other, place, metric, replicates)
    )
    return found | {
        "difference": effect.value,
        "low": effect.low,
        "high": effect.high,
        "size": effect.size,
        "size_low": effect.size_low,
        "size_high": effect.size_high,
        "size_reason": effect.size_reason,
        "method": effect.method,
        "reason": effect.reason,
    }


def _effect(
    cell: _Evaluated,
    base: _Evaluated,
    own: Mapping[int, float],
    other: Mapping[int, float],
    place: Mapping[str, str],
    metric: str,
    replicates: int,
) -> Effect:
    seeds = sorted(own.keys() & other.keys())
    if not seeds:
        return Effect(None, reason="undefined in one of the two", size_reason="undefined in one of the two")
    if len(seeds) > 1:
        return over_seeds([own[s] for s in seeds], [other[s] for s in seeds], 0.95)
    parts = [e.predictions.filter(**place, seed=seeds[0]).sort(WINDOW_KEY) for e in (cell, base)]
    windows = [part.select(*WINDOW_KEY, "t0", "y") for part in parts]
    value = own[seeds[0]] - other[seeds[0]]
    if not windows[0].equals(windows[1]):
        return Effect(value, reason="no interval: other windows, and one seed", size_reason=ONE_SEED)
    y, capture = parts[0]["y"].to_numpy(), parts[0]["capture"].to_numpy()
    draws = resample(y, capture, replicates=replicates, block_windows=20, rng=np.random.default_rng(0))
    first, second = (
        binary_replicates(y, part["score"].to_numpy(), part["prediction"].to_numpy(), draws, metric)
        for part in parts
    )
    return over_draws(own[seeds[0]], other[seeds[0]], (first, second), 0.95, level=draws.level)
