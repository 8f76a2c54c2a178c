"""Attack events: contiguous intervals, from frame labels or declared by whoever made the capture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

from candor.ids.config import AttackInterval

#: t_start and t_end in seconds since the capture's first frame.
SCHEMA: Final = pl.Schema(
    {"capture": pl.String, "attack": pl.String, "t_start": pl.Float64, "t_end": pl.Float64}
)


def from_labels(frames: Iterable[pl.DataFrame], capture: str, start: float, gap_s: float) -> pl.DataFrame:
    """Runs of attack frames of one family, no two neighbours further apart than ``gap_s``.

    An event reaches from its first attack frame to its last, so a single injected frame is an event of length zero.
    ``frames``: parts of the capture with timestamp, label and attack, whose earliest frame is at ``start``.
    """
    hit = pl.col("label") == 1
    t = pl.col("timestamp") - start
    parts = (part.filter(hit).select("attack", t_start=t, t_end=t) for part in frames)
    runs = [_merged(part, gap_s) for part in parts if part.height]
    table = _merged(pl.concat(runs), gap_s) if runs else pl.DataFrame(schema=SCHEMA).drop("capture")
    named = table.select(pl.lit(capture).alias("capture"), "attack", "t_start", "t_end")
    return named.sort("t_start").cast(SCHEMA)


def _merged(spans: pl.DataFrame, gap_s: float) -> pl.DataFrame:
    """Spans (attack, t_start, t_end) that lie no further apart than ``gap_s`` become one."""
    ordered = spans.sort("attack", "t_start")
    new = (pl.col("t_start") - pl.col("t_end").cum_max().shift() > gap_s).over("attack").fill_null(True)
    runs = ordered.with_columns(run=new.cum_sum()).group_by("run", maintain_order=True)
    return runs.agg(
        attack=pl.col("attack").first(), t_start=pl.col("t_start").min(), t_end=pl.col("t_end").max()
    ).drop("run")


def join(stretches: Sequence[pl.DataFrame], gap_s: float) -> pl.DataFrame:
    """Events of consecutive stretches of one capture; what goes on across a border is one event."""
    table = pl.concat([pl.DataFrame(schema=SCHEMA), *stretches])
    capture = table["capture"].first()
    named = _merged(table.drop("capture"), gap_s).with_columns(capture=pl.lit(capture))
    return named.select(*SCHEMA).sort("t_start", maintain_order=True).cast(SCHEMA)


def declared(intervals: Sequence[AttackInterval], capture: str) -> pl.DataFrame:
    """Declared intervals as an event table."""
    shown = {"attack", "t_start", "t_end"}
    rows = [{"capture": capture, **interval.model_dump(include=shown)} for interval in intervals]
    return pl.DataFrame(rows, schema=SCHEMA).sort("t_start")


def injected(interval: AttackInterval, start: float) -> pl.Expr:
    """Whether a frame is the interval's attack's, in a capture whose first frame is at ``start``."""
    t = pl.col("timestamp") - start
    # A log has microseconds, of which a difference of doubles is off by less than half a one.
    hit = t.is_between(interval.t_start - 5e-7, interval.t_end + 5e-7)
    if interval.id is not None:
        hit &= pl.col("id") == interval.id
    if interval.payload:
        pattern = interval.payload.lower().replace("x", ".")
        hit &= pl.col("data").bin.encode("hex").str.contains(f"^{pattern}$")
    return hit
