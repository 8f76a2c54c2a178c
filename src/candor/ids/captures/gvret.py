"""SavvyCAN's GVRET CSV: ``Time Stamp,ID,Extended,Dir,Bus,LEN,D1,...,D8``, times in microseconds.

Rows are padded with commas or not. Remote and error frames are not kept by the format.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.format import Format, Opened, as_seconds, groups, micros
from candor.ids.captures.rows import RawRows

NAME: Final = "gvret"

_HEADER = "time stamp,id,extended,dir,bus,len"
_LINE = (
    r"^\s*(?<t>[^,]*),(?<id>[^,]*),(?<wide>true|false|True|False|[01]),(?:[^,]*),(?<channel>[^,]*),(?<dlc>[^,]*)"
    r"(?<data>(?:,[^,]+)*),*$"
)


def sniff(head: list[str]) -> float:
    """The header decides."""
    return float(any(line.lower().replace(", ", ",").startswith(_HEADER) for line in head[:2]))


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header."""
    named = head.filter(pl.col("raw").str.to_lowercase().str.starts_with("time stamp"))
    return Opened(_read, header_lines=int(named["line"][0]) if named.height else 0)


def _read(table: pl.DataFrame) -> RawRows:
    return RawRows(
        groups(table, _LINE).select(
            "line",
            "raw",
            "id",
            "channel",
            "dlc",
            broken=pl.col("id").is_null(),
            t=as_seconds(micros(pl.col("t"), 1.0)),
            data=pl.col("data").str.replace_all(r"[,\s]", ""),
            extended=pl.col("wide").is_in(pl.Series(["true", "True", "1"]).implode()).fill_null(False),
        ),
        None,
    )


FORMAT: Final = Format(NAME, "SavvyCAN GVRET CSV", ".csv", sniff=sniff, open=open_)
