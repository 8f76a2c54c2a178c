"""The times candump prints: seconds (``-ta``, ``-tz``), a local date (``-tA``), or seconds since the line before (``-td``).

Nothing in a file says which: dates look like dates, and where a tenth of the first steps go back, times are differences.
A date has no zone and is taken for UTC. Linux can-utils, candump.c ``sprint_timestamp``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from candor.ids.captures.format import LineReader, as_seconds, micros, seconds
from candor.ids.captures.rows import RawRows

#: What stands between the brackets.
PATTERN: Final = r"[^()\s]+(?: [^()\s]+)?"
#: Fewer steps than this do not tell differences from a clock.
_TELLING_STEPS = 10
_TELLING_SHARE = 0.1
#: No bus that is logged is silent for a day.
_LONGEST_SILENCE_S = 86_400.0
_DATE = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})?$"


def as_number(t: pl.Expr) -> pl.Expr:
    """Text → s; null where it is neither a number nor a date."""
    date = t.str.contains(_DATE).fill_null(False)
    known = pl.when(date).then(t).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    return pl.when(date).then(as_seconds(known.cast(pl.Int64))).otherwise(t.cast(pl.Float64, strict=False))


def are_differences(times: pl.Series) -> bool:
    """Whether the first times of a file (text) are those of ``-td``."""
    known = times.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    steps = np.diff(known)
    if len(steps) < _TELLING_STEPS or np.abs(known).max() > _LONGEST_SILENCE_S:
        return False
    return bool((steps < 0).mean() >= _TELLING_SHARE)


class Differences:
    """A reader whose times (a column of text) are added up from the first line on."""

    def __init__(self, read: LineReader) -> None:
        self._read = read
        self._micros = 0

    def read(self, table: pl.DataFrame) -> RawRows:
        """See LineReader."""
        raw = self._read(table)
        steps = raw.table.with_columns(step=micros(pl.col("t").cast(pl.String)))
        sums = steps.select(pl.col("step").fill_null(0).cum_sum() + self._micros).to_series()
        self._micros = int(sums[-1]) if len(sums) else self._micros
        t = pl.when(pl.col("step").is_not_null()).then(seconds(sums))
        return RawRows(steps.with_columns(t=t).drop("step"), raw.labels)
