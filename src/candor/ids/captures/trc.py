"""PEAK TRC, versions 1.0, 1.1, 1.2, 1.3, 2.0 and 2.1.

Version 2 names its columns (``$COLUMNS=N,O,T,B,I,d,R,L,D``); ``l`` is a length, ``L`` a length code. Offsets are
milliseconds since ``$STARTTIME``, days since 1899-12-30 in local time, taken for UTC; version 1.0 has the start as a
remark (``Start time: 18.12.2021 14:28:07.062``). Status and event records are no frames.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures import lengths
from candor.ids.captures.format import Format, Opened, as_seconds, groups, micros, share, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "trc"

_ID = r"(?<id>[0-9A-Fa-f]+|-)"
_DATA = r"(?<dlc>\d{1,2})\s*(?<rtr>RTR)?(?<data>(?:\s*\b[0-9A-Fa-f]{2}\b)*)\s*$"
_OLD: Final = {
    "1.0": rf"^\d+\)\s+(?<t>\S+)\s+{_ID}\s+{_DATA}",
    "1.1": rf"^\d+\)\s+(?<t>\S+)\s+(?<kind>\w+)\s+{_ID}\s+{_DATA}",
    "1.2": rf"^\d+\)\s+(?<t>\S+)\s+(?<channel>\d+)\s+(?<kind>\w+)\s+{_ID}\s+{_DATA}",
    "1.3": rf"^\d+\)\s+(?<t>\S+)\s+(?<channel>\d+)\s+(?<kind>\w+)\s+{_ID}\s+(?:\S+)\s+{_DATA}",
}
_COLUMN: Final = {
    "N": r"\d+",
    "O": r"(?<t>\S+)",
    "T": r"(?<kind>\w{2})",
    "B": r"(?<channel>\d+)",
    "I": _ID,
    "d": r"(?:Rx|Tx)",
    "R": r"\S+",
}
_LATE_COLUMNS: Final = {"2.0": "N,O,T,I,d,l,D", "2.1": "N,O,T,B,I,d,R,L,D"}
#: Old files mark a status by an ID of ones, or by type; new ones by type.
_STATUS_OLD = r"^\d+\)\s+\S+\s+(?:\d+\s+)?(?:(?:Warng|Error|Event)\s|FFFFFFFF\s)"
_STATUS_NEW = r"^\d+\s+\S+\s+(?:ST|EC|EV)\b"
_LOOKS = re.compile(r"^(;\$(FILEVERSION|STARTTIME|COLUMNS)=|;#{20,}|\d+\)\s+\d+(\.\d+)?\s)")
_EPOCH_DAYS = 25_569
_START = re.compile(r"^;\s+Start time: (\d{2})\.(\d{2})\.(\d{4}) (\d{2}):(\d{2}):(\d{2})\.(\d{3})")


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader for the file's version. Raises SchemaMismatch for columns that are none."""
    lines = [line for line in head["raw"].to_list() if line.startswith(";")]
    keys = dict(line[2:].split("=", 1) for line in lines if line.startswith(";$") and "=" in line)
    version = keys.get("FILEVERSION", "1.0").strip()
    start = _start(keys.get("STARTTIME", ""), lines)
    if version in _OLD:
        return Opened(lambda table: _read(table, _OLD[version], start, old=True, coded=False))
    columns = keys.get("COLUMNS", _LATE_COLUMNS.get(version, _LATE_COLUMNS["2.1"])).strip().split(",")
    if len(set(columns)) < len(columns) or not {"O", "T", "I", "D"} <= set(columns):
        raise SchemaMismatch(
            f"$COLUMNS={','.join(columns)[:80]} is no list of a TRC's columns",
            place=place,
            hint="Expected letters of N,O,T,B,I,d,R,l,L,D, each once; O, T, I and D at least.",
        )
    pattern = r"^" + "".join(rf"{_COLUMN[c]}\s+" for c in columns if c in _COLUMN) + _DATA
    return Opened(lambda table: _read(table, pattern, start, old=False, coded="L" in columns))


def _start(days: str, lines: list[str]) -> int:
    """Microseconds since 1970, 0 if unknown."""
    try:
        return round((float(days) - _EPOCH_DAYS) * 86_400e6)
    except (ValueError, OverflowError):
        pass  # Not in the file, or damaged: the remark may have it.
    for line in lines:
        if found := _START.match(line):
            day, month, year, h, m, s, ms = map(int, found.groups())
            try:
                moment = dt.datetime(year, month, day, h, m, s, ms * 1000, tzinfo=dt.UTC)
            except ValueError:
                return 0
            return round(moment.timestamp() * 1e6)
    return 0


def _read(table: pl.DataFrame, pattern: str, start: int, *, old: bool, coded: bool) -> RawRows:
    fields = groups(table, pattern)
    for name in ("kind", "channel"):
        if name not in fields.columns:
            fields = fields.with_columns(pl.lit("").alias(name))
    status = pl.col("raw").str.contains(_STATUS_OLD if old else _STATUS_NEW)
    number = pl.col("dlc").cast(pl.Int64, strict=False)
    remote = ((pl.col("kind") == "RR") | pl.col("rtr").is_not_null()).fill_null(False)
    error = (pl.col("kind") == "ER").fill_null(False)
    length = lengths.of_code(number) if coded else number
    payload = squeeze(pl.col("data"))
    return RawRows(
        fields.select(
            "line",
            "raw",
            pl.col("channel").fill_null(""),
            other=status,
            broken=pl.col("t").is_null() | ~_known(old),
            t=as_seconds(micros(pl.col("t"), 1e3) + start),
            id=pl.when(error & (pl.col("id") == "-")).then(pl.lit("0")).otherwise("id"),
            data=payload,
            # A data frame's length code over 8 with eight bytes is classic CAN.
            dlc=pl.when(remote)
            .then(pl.min_horizontal(number, pl.lit(8)))
            .when(error)
            .then(None)
            .when((pl.col("kind") == "DT") & number.is_between(9, 15) & (payload.str.len_chars() == 16))
            .then(pl.lit(8))
            .otherwise(length.fill_null(-1))
            .cast(pl.String),
            remote=remote,
            error=error,
            extended=(pl.col("id").str.len_chars() == 8).fill_null(False),
            fd=pl.col("kind").is_in(pl.Series(["FD", "FB", "FE", "BI"]).implode()).fill_null(False),
            brs=pl.col("kind").is_in(pl.Series(["FB", "BI"]).implode()).fill_null(False),
            esi=pl.col("kind").is_in(pl.Series(["FE", "BI"]).implode()).fill_null(False),
        ),
        None,
    )


def _known(old: bool) -> pl.Expr:
    kinds = ["", "Rx", "Tx"] if old else ["DT", "FD", "FB", "FE", "BI", "RR", "ER"]
    return pl.col("kind").is_in(pl.Series(kinds).implode()).fill_null(False)


FORMAT: Final = Format(
    NAME,
    "PEAK TRC 1.0 to 2.1",
    ".trc",
    sniff=lambda head: 1.0 if head and _LOOKS.match(head[0]) else share(head, _LOOKS.match),
    open=open_,
    comment=r"^;",
)
