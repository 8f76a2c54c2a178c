"""PEAK-Converter text (called .csv): a long legend, then ``1 0.100 1 Rx DT 0593 - 6 00 00 FF FF FF FF``.

Number, offset in ms, bus, direction, type, ID, reserved (a J1939 destination), length, bytes. ``$STARTTIME`` counts
days since 1899-12-30 in local time, taken for UTC. Status and event records are no frames.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures.format import Format, Opened, as_seconds, groups, micros, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "peak_csv"

_COLUMNS = r"^Number[\s,;]+Time"
_LINE = (
    r"^\d+[\s,;]+(?<t>[\d.]+)[\s,;]+(?<channel>\d+)[\s,;]+(?:Rx|Tx)[\s,;]+(?<kind>[A-Z]{2})[\s,;]+"
    r"(?<id>[0-9A-Fa-f]+|-)[\s,;]+\S+[\s,;]+(?<dlc>\d{1,2})(?<data>(?:[\s,;]+[0-9A-Fa-f]{2}\b)*)[\s,;]*$"
)
_STATUS = r"^\d+[\s,;]+[\d.]+[\s,;]+(?:\S+[\s,;]+){1,3}?(?:ST|EC|EV)\b"
_EPOCH_DAYS = 25_569


def sniff(head: list[str]) -> float:
    """The legend decides; a TRC has a semicolon before it."""
    return float(bool(head) and (head[0].startswith("$STARTTIME=") or head[0].startswith("Number Time (ms)")))


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the line that names columns. Raises SchemaMismatch without one."""
    named = head.filter(pl.col("raw").str.contains(_COLUMNS))
    if named.is_empty():
        raise SchemaMismatch(
            "the line that names columns is missing", place=place, hint="Expected 'Number Time (ms) Bus ...'."
        )
    days = head["raw"].str.extract(r"^\$STARTTIME=(\d+\.\d+)").drop_nulls()
    start = round((float(days[0]) - _EPOCH_DAYS) * 86_400e6) if len(days) else 0
    return Opened(lambda table: _read(table, start), header_lines=int(named["line"][0]))


def _read(table: pl.DataFrame, start: int) -> RawRows:
    kind = pl.col("kind")
    number = pl.col("dlc").cast(pl.Int64, strict=False)
    remote = (kind == "RR").fill_null(False)
    known = pl.Series(["DT", "FD", "FB", "FE", "BI", "RR", "ER"]).implode()
    error = (kind == "ER").fill_null(False)
    return RawRows(
        groups(table, _LINE).select(
            "line",
            "raw",
            pl.col("channel").fill_null(""),
            other=pl.col("raw").str.contains(_STATUS),
            broken=~kind.is_in(known).fill_null(False),
            t=as_seconds(micros(pl.col("t"), 1e3) + start),
            id=pl.when(error & (pl.col("id") == "-")).then(pl.lit("0")).otherwise("id"),
            data=squeeze(pl.col("data")),
            dlc=pl.when(~error).then(number).cast(pl.String),
            remote=remote,
            error=error,
            extended=(pl.col("id").str.len_chars() == 8).fill_null(False),
            fd=kind.is_in(pl.Series(["FD", "FB", "FE", "BI"]).implode()).fill_null(False),
            brs=kind.is_in(pl.Series(["FB", "BI"]).implode()).fill_null(False),
            esi=kind.is_in(pl.Series(["FE", "BI"]).implode()).fill_null(False),
        ),
        None,
    )


FORMAT: Final = Format(NAME, "PEAK-Converter CSV", ".csv", sniff=sniff, open=open_)
