"""Mean and spread over seeds: how much of a figure is luck of the initialisation."""

from __future__ import annotations

import polars as pl

_PLACE = ["detector", "variant", "split", "scenario", "capture", "attack", "level", "metric"]


def over_seeds(results: pl.DataFrame) -> pl.DataFrame:
    """One row per detector, slice and metric: ``seed`` null, ``value`` the mean, ``sd`` the sample standard deviation.

    Undefined seeds are left out of the mean and named in the reason; intervals are within one seed, so none is given.
    """
    value = pl.col("value")
    defined, all_seeds = value.is_not_null().sum(), pl.len()
    some = pl.format(
        "defined in {} of {} seeds: {}", defined, all_seeds, pl.col("undefined_reason").drop_nulls().first()
    )
    reason = (
        pl.when(defined == 0)
        .then(pl.col("undefined_reason").drop_nulls().first())
        .when(defined < all_seeds)
        .then(some)
        .otherwise(None)
    )
    return results.group_by(_PLACE, maintain_order=True).agg(
        pl.lit(None, pl.Int64).alias("seed"),
        value.mean().alias("value"),
        pl.when(defined > 1).then(value.std(ddof=1)).otherwise(None).alias("sd"),
        defined.cast(pl.Int64).alias("seeds"),
        pl.lit(None, pl.Float64).alias("low"),
        pl.lit(None, pl.Float64).alias("high"),
        pl.lit(None, pl.Float64).alias("confidence"),
        pl.lit(None, pl.String).alias("interval"),
        reason.alias("undefined_reason"),
        pl.lit(None, pl.Float64).alias("threshold"),
        pl.col("windows").first(),
        pl.col("attack_windows").first(),
        pl.col("events").first(),
    )
