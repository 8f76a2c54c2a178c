"""Several datasets as folds of one experiment: every metric on the mean over them, where each recording is tested once.

Legend: a place is one scenario of one fold; every place counts alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from candor.errors import ConfigError
from candor.learn.metrics import check_metrics
from candor.report.tables import headline, rank, verdict


@dataclass(frozen=True)
class Folds:
    """``rows``: one per detector and variant, with every metric's ``value``, ``sd`` over seeds, and value by ``places``.

    ``places``: fold and scenario, in the order of the values. ``notes``: whether the best of ours beats the best of the others.
    """

    places: list[str]
    rows: list[dict[str, Any]]
    notes: list[str]


def check(datasets: Sequence[str], metrics: Sequence[str]) -> None:
    """Raises ConfigError for fewer than two datasets, one that is named twice, or an unknown metric."""
    check_metrics(metrics)
    if len(datasets) < 2:
        raise ConfigError("folds are two datasets or more", place="--dataset", hint="Write --dataset A,B.")
    twice = next((name for name in datasets if datasets.count(name) > 1), None)
    if twice:
        raise ConfigError(f"'{twice}' is named twice", place="--dataset", hint="Name every fold once.")


def table(evaluated: Mapping[str, Path], *, metrics: Sequence[str]) -> Folds:
    """The mean over folds. ``evaluated``: dataset → its evaluate artifact; ``metrics``: of `candor.learn.metrics.METRICS`.

    A detector that lacks a value in one of the places has no mean. Raises ConfigError as ``check`` does.
    """
    check(list(evaluated), metrics)
    results = pl.concat([_whole(name, folder) for name, folder in evaluated.items()])
    places = results["scenario"].unique(maintain_order=True).to_list()
    keys = results.select("detector", "variant").unique().rows()
    rows = [
        {
            "detector": detector,
            "variant": variant,
            "metrics": {
                m: _mean(results.filter(detector=detector, variant=variant, metric=m), places)
                for m in metrics
            },
        }
        for detector, variant in sorted(keys, key=lambda k: rank(*k))
    ]
    return Folds(places, rows, verdict(results))


def _whole(fold: str, folder: Path) -> pl.DataFrame:
    """Window metrics of whole scenarios, each named after its fold too."""
    results = pl.read_parquet(folder / "results.parquet").filter(capture="", attack="", level="window")
    place = pl.when(pl.col("scenario") == "").then(pl.lit(fold)).otherwise(fold + ": " + pl.col("scenario"))
    return results.with_columns(place.alias("scenario"))


def _mean(rows: pl.DataFrame, places: list[str]) -> dict[str, Any]:
    """value, sd, seeds, places (values in order, None where there is none)."""
    shown = dict(headline(rows).select("scenario", "value").iter_rows())
    by_place = [shown.get(place) for place in places]
    by_seed = (
        rows.drop_nulls(["seed", "value"])
        .group_by("seed")
        .agg(pl.col("value").mean(), pl.len().alias("places"))
        .filter(pl.col("places") == len(places))["value"]
    )
    return {
        "value": None if None in by_place else float(np.mean(np.array(by_place, float))),
        "sd": float(by_seed.std()) if len(by_seed) > 1 else None,  # type: ignore[arg-type]
        "seeds": len(by_seed),
        "places": by_place,
    }
