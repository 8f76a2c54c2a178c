"""SocketCAN ``candump -L``: ``(1436509052.249713) can0 123#DEADBEEF``.

``123#R`` or ``123#R4`` is a remote frame, ``123##1AABB`` CAN FD with its flags nibble (1 bit-rate switch, 2 error
state), eight hexadecimal digits an extended ID, and 2xxxxxxx an error frame (CAN_ERR_FLAG). ``_9`` after eight bytes
is a raw length code. Times as in candump_time. Linux can-utils, lib.c ``snprintf_canframe``. The format has no labels.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from candor.ids.captures import candump_time, text
from candor.ids.captures import frames as fr
from candor.ids.captures.format import Opened, groups
from candor.ids.captures.rows import RawRows

NAME: Final = "candump"

_LINE = rf"^\((?<t>{candump_time.PATTERN})\)\s+(?<channel>\S+)\s+(?<id>[^#\s]*)#(?<body>\S*)(?:\s+[RT])?$"
_LOOKS = re.compile(r"^\([^()]+\)\s+\S+\s+[^#\s]+#")
_REMOTE = r"^R([0-9A-Fa-f]?)(?:_[9A-Fa-f])?$"
_ERROR_ID = r"^[23][0-9A-Fa-f]{7}$"


def sniff(head: list[str]) -> float:
    """Share of the first lines that look like this format."""
    return sum(bool(_LOOKS.match(line)) for line in head) / max(len(head), 1)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of unlabelled lines, which knows whether times are differences."""
    if candump_time.are_differences(groups(head, _LINE)["t"]):
        return Opened(candump_time.Differences(_read).read)
    return Opened(_read, fast="candump")


def _read(table: pl.DataFrame) -> RawRows:
    return RawRows(fields(table), None)


def fields(table: pl.DataFrame) -> pl.DataFrame:
    """Columns line and raw → table of RawRows."""
    fields = table.with_columns(pl.col("raw").str.extract_groups(_LINE).alias("fields")).unnest("fields")
    body, fd, remote = pl.col("body"), pl.col("fd"), pl.col("remote")
    fields = fields.with_columns(
        fd=body.str.starts_with("#").fill_null(False),
        remote=body.str.contains(_REMOTE).fill_null(False),
        error=pl.col("id").str.contains(_ERROR_ID).fill_null(False),
    ).with_columns(nibble=pl.when(fd).then(body.str.slice(1, 1).str.to_integer(base=16, strict=False)))
    payload = pl.when(remote).then(pl.lit("")).when(fd).then(body.str.slice(2))
    # CAN_ERR_FLAG is bit 29; the digit that carries it also carries bit 28 of the identifier.
    plain_id = pl.col("id").str.replace("^2", "0").str.replace("^3", "1")
    return fields.select(
        "line",
        "raw",
        "channel",
        "fd",
        "remote",
        "error",
        t=candump_time.as_number(pl.col("t")),
        broken=pl.col("t").is_null() | (fd & pl.col("nibble").is_null()),
        id=pl.when("error").then(plain_id).otherwise("id"),
        data=payload.otherwise(body.str.replace(r"^([0-9A-Fa-f]{16})_[9A-Fa-f]$", "${1}")),
        dlc=pl.when(remote).then(_requested(body)),
        extended=(pl.col("id").str.len_chars() == 8) & ~pl.col("error"),
        brs=(pl.col("nibble") & 1).fill_null(0) > 0,
        esi=(pl.col("nibble") & 2).fill_null(0) > 0,
    ).with_columns(pl.col("extended").fill_null(False))


def _requested(body: pl.Expr) -> pl.Expr:
    """Length a remote frame asks for, as decimal text; a bare R asks for 0."""
    return body.str.extract(_REMOTE, 1).str.to_integer(base=16, strict=False).fill_null(0).cast(pl.String)


def write(table: pl.DataFrame) -> bytes:
    """Frames → text; labels are lost. A frame without channel is written as ``can0``."""
    text.refuse(table, text.has_flag(fr.REMOTE) & text.has_flag(fr.FD), "remote and FD at once", NAME)
    short, long = text.id_text(table, 3, upper=True), text.id_text(table, 8, upper=True)
    error_id = long.str.replace("^0", "2").str.replace("^1", "3")
    nibble = pl.col("flags") // fr.BRS & 3  # BRS and ESI are neighbours, in candump's order.
    requested = pl.when(pl.col("dlc") == 0).then(pl.lit("")).otherwise(pl.col("dlc").cast(pl.String))
    body = (
        pl.when(text.has_flag(fr.REMOTE))
        .then(pl.lit("R") + requested)
        .when(text.has_flag(fr.FD))
        .then(pl.lit("#") + nibble.cast(pl.String) + text.payload_text(upper=True))
        .otherwise(text.payload_text(upper=True))
    )
    name = (
        pl.when(text.has_flag(fr.ERROR))
        .then(error_id)
        .when(text.has_flag(fr.EXTENDED))
        .then(long)
        .otherwise(short)
    )
    channel = pl.when(pl.col("channel") == "").then(pl.lit("can0")).otherwise(pl.col("channel"))
    line = pl.concat_str(
        [pl.lit("("), text.time_text(), pl.lit(") "), channel, pl.lit(" "), name, pl.lit("#"), body]
    )
    return text.join(line, table)
