"""Attack events: contiguous intervals, from frame labels or declared by whoever made the capture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from candor.ids.config import AttackInterval

#: t_start and t_end in seconds since the capture's first frame.
SCHEMA: Final = pl.Schema(
    {"capture": pl.String, "attack": pl.String, "t_start": pl.Float64, "t_end": pl.Float64}
)


def from_labels(
    frames: pl.DataFrame, capture: str, gap_s: float, *, start: float | None = None
) -> pl.DataFrame:
    """Runs of attack frames of one family, no two neighbours further apart than ``gap_s``.

    An event reaches from its first attack frame to its last, so a single injected frame is an event of length zero.
    ``start``: time of the capture's first frame, where ``frames`` are a stretch of it.
    """
    begin = frames["timestamp"].min() if start is None else start
    hits = (
        frames.filter(pl.col("label") == 1)
        .select("attack", t=pl.col("timestamp") - begin)
        .sort("attack", "t")
    )
    new = (pl.col("t").diff() > gap_s).over("attack").fill_null(True)
    runs = hits.with_columns(run=new.cum_sum()).group_by("run", maintain_order=True)
    table = runs.agg(attack=pl.col("attack").first(), t_start=pl.col("t").min(), t_end=pl.col("t").max())
    return (
        table.select(pl.lit(capture).alias("capture"), "attack", "t_start", "t_end")
        .sort("t_start")
        .cast(SCHEMA)
    )


def join(stretches: Sequence[pl.DataFrame], gap_s: float) -> pl.DataFrame:
    """Events of consecutive stretches of one capture; what goes on across a border is one event."""
    table = pl.concat([pl.DataFrame(schema=SCHEMA), *stretches]).sort("attack", "t_start", "t_end")
    reach = pl.col("t_end").cum_max().shift().over("attack")
    new = (pl.col("t_start") - reach > gap_s).fill_null(True)
    runs = table.with_columns(run=new.cum_sum()).group_by("run", maintain_order=True)
    joined = runs.agg(
        pl.col("capture", "attack").first(), t_start=pl.col("t_start").min(), t_end=pl.col("t_end").max()
    )
    return joined.select(*SCHEMA).sort("t_start", maintain_order=True).cast(SCHEMA)


def declared(intervals: Sequence[AttackInterval], capture: str) -> pl.DataFrame:
    """Declared intervals as an event table."""
    rows = [{"capture": capture, **interval.model_dump()} for interval in intervals]
    return pl.DataFrame(rows, schema=SCHEMA).sort("t_start")
