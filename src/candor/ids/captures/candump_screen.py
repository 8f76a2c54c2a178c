"""What ``candump`` prints on a terminal: `` (000.005001)  can0  18FEDF00   [8]  8A A0 28 7D 7D FF FF F5``.

Times are absolute (-ta), from zero (-tz) or since the line before (-td), and nothing in the file says which: where a
tenth of the first steps go back, they are differences. ``[08]`` with two digits is CAN FD. The format has no labels.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import polars as pl

from candor.ids.captures.format import Format, Opened, groups, micros, seconds, share, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "candump_screen"

_LINE = (
    r"^\((?<t>[^()\s]+)\)\s+(?<channel>\S+)\s+(?:[RT]X\s+[-B]\s+[-E]\s+)?(?<id>[0-9A-Fa-f]+)\s+\[(?<dlc>\d{1,2})\]"
    r"(?<data>(?:\s+[0-9A-Fa-f]{2}\b)*)\s*(?<tail>remote request|ERRORFRAME|'.*'|)$"
)
_LOOKS = re.compile(r"^\([^()]+\)\s+\S+\s+(\S+\s+\S+\s+\S+\s+)?[0-9A-Fa-f]+\s+\[\d{1,2}\]")
#: Fewer steps than this do not tell differences from a clock.
_TELLING_STEPS = 10
_ERROR_ID = r"^[23][0-9A-Fa-f]{7}$"


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader that knows whether times are differences."""
    times = groups(head, _LINE)["t"].cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    steps = np.diff(times)
    if len(steps) < _TELLING_STEPS or (steps < 0).mean() < 0.1:
        return Opened(lambda table: RawRows(_fields(table), None))
    return Opened(_Differences().read)


class _Differences:
    """Adds up ``-td`` times from the first line on."""

    def __init__(self) -> None:
        self._micros = 0

    def read(self, table: pl.DataFrame) -> RawRows:
        fields = _fields(table).with_columns(step=micros(pl.col("t")))
        sums = fields.select(pl.col("step").fill_null(0).cum_sum() + self._micros).to_series()
        self._micros = int(sums[-1]) if len(sums) else self._micros
        t = pl.when(pl.col("step").is_not_null()).then(seconds(sums))
        return RawRows(fields.with_columns(t=t), None)


def _fields(table: pl.DataFrame) -> pl.DataFrame:
    error = pl.col("id").str.contains(_ERROR_ID).fill_null(False)
    return groups(table, _LINE).select(
        "line",
        "raw",
        "t",
        "channel",
        "dlc",
        broken=pl.col("t").is_null(),
        data=squeeze(pl.col("data")),
        # CAN_ERR_FLAG is bit 29; the digit that carries it also carries bit 28 of the identifier.
        id=pl.when(error).then(pl.col("id").str.replace("^2", "0").str.replace("^3", "1")).otherwise("id"),
        extended=((pl.col("id").str.len_chars() == 8) & ~error).fill_null(False),
        remote=(pl.col("tail") == "remote request").fill_null(False),
        error=error,
        fd=(pl.col("dlc").str.len_chars() == 2).fill_null(False),
    )


FORMAT: Final = Format(
    NAME, "candump screen output", ".log", sniff=lambda head: share(head, _LOOKS.match), open=open_
)
