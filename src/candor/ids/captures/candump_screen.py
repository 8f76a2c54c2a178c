"""What ``candump`` prints on a terminal: `` (000.005001)  can0  18FEDF00   [8]  8A A0 28 7D 7D FF FF F5``.

Times as in candump_time. ``[08]`` with two digits is CAN FD, whose bit-rate switch and error state
``candump -x`` shows (``can0  RX B -  123  [08] ...``). The format has no labels.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from candor.ids.captures import candump_time
from candor.ids.captures.format import Format, Opened, groups, share, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "candump_screen"

_LINE = (
    rf"^\((?<t>{candump_time.PATTERN})\)\s+(?<channel>\S+)\s+(?:[RT]X\s+(?<brs>[-B])\s+(?<esi>[-E])\s+)?(?<id>[0-9A-Fa-f]+)\s+\[(?<dlc>\d{{1,2}})\]"
    r"(?<data>(?:\s+[0-9A-Fa-f]{2}\b)*)\s*(?<tail>remote request|ERRORFRAME|'.*'|)$"
)
_LOOKS = re.compile(r"^\([^()]+\)\s+\S+\s+(\S+\s+\S+\s+\S+\s+)?[0-9A-Fa-f]+\s+\[\d{1,2}\]")
_ERROR_ID = r"^[23][0-9A-Fa-f]{7}$"


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader that knows whether times are differences."""
    differences = candump_time.are_differences(groups(head, _LINE)["t"])
    return Opened(candump_time.Differences(_read).read if differences else _read)


def _read(table: pl.DataFrame) -> RawRows:
    return RawRows(_fields(table), None)


def _fields(table: pl.DataFrame) -> pl.DataFrame:
    error = pl.col("id").str.contains(_ERROR_ID).fill_null(False)
    return groups(table, _LINE).select(
        "line",
        "raw",
        "channel",
        "dlc",
        t=candump_time.as_number(pl.col("t")),
        broken=pl.col("t").is_null(),
        data=squeeze(pl.col("data")),
        # CAN_ERR_FLAG is bit 29; the digit that carries it also carries bit 28 of the identifier.
        id=pl.when(error).then(pl.col("id").str.replace("^2", "0").str.replace("^3", "1")).otherwise("id"),
        extended=((pl.col("id").str.len_chars() == 8) & ~error).fill_null(False),
        remote=(pl.col("tail") == "remote request").fill_null(False),
        error=error,
        fd=(pl.col("dlc").str.len_chars() == 2).fill_null(False),
        brs=(pl.col("brs") == "B").fill_null(False),
        esi=(pl.col("esi") == "E").fill_null(False),
    )


FORMAT: Final = Format(
    NAME, "candump screen output", ".log", sniff=lambda head: share(head, _LOOKS.match), open=open_
)
