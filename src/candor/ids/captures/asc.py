"""Vector ASC: ``348.161550 1 123x  Rx d 8 12 34 ...``, ``CANFD`` lines, remote and error frames.

The length behind ``d`` is decimal or hexadecimal, a number of bytes or a length code, as the writer pleased
(``d 40`` before 64 bytes, ``d 10`` before 16, ``d D`` before 8, ``d 9`` before 12): the bytes that follow count, and
must agree with one of these readings. python-can takes the length at its word, and takes the first line after the
header for "internal events logged" even where that line is missing, which loses a frame.

``date`` in the header is local time without a zone; it is taken for UTC. Where it cannot be read, times count from
the start of the file.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

import polars as pl

from candor.ids.captures import lengths
from candor.ids.captures.format import Format, Opened, groups, micros, seconds, share, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "asc"

_ID = r"(?<{0}>[0-9A-Fa-f]{{1,9}}x?)"
_CLASSIC = (
    rf"^(?<t>\d+\.\d+)\s+(?<channel>\d+)\s+{_ID.format('id')}\s+(?:Rx|Tx|TxRq)\s+(?<kind>[dr])\b\s*"
    r"(?<len>[0-9A-Fa-f]{1,3}\b)?(?<data>(?:\s+[0-9A-Fa-f]{1,3}\b)*)"
)
_FD = (
    rf"^(?<t2>\d+\.\d+)\s+CANFD\s+(?<channel2>\d+)\s+(?:Rx|Tx|TxRq)\s+{_ID.format('id2')}\s+(?:[^\s\d]\S*\s+)?"
    r"(?<brs>[01])\s+(?<esi>[01])\s+(?<code>[0-9A-Fa-f])\s+(?<size>\d{1,2})\b\s*(?<tail>.*)$"
)
_ERROR = r"^(?<t3>\d+\.\d+)\s+(?<fd3>CANFD\s+)?(?<channel3>\d+)\s+(?:(?:Rx|Tx)\s+)?ErrorFrame\b"
_TIMED = r"^(?<t4>\d+\.\d+)\s"
#: A line of a frame, whatever is wrong with its fields.
_MEANT = r"^\d+\.\d+\s+(?:\d+\s+[0-9A-Fa-f]+x?\s+(?:Rx|Tx|TxRq)\s+[dr]\b|CANFD\s)"

_HEADER = re.compile(
    r"^(date\s|base\s+(hex|dec)\b|//|Begin Trigger|internal events|no internal events)", re.I
)
_COMMENT = r"(?i)^(//|date\s|base\s|(no )?internal events|(Begin|End) ?Trigger ?block)"
_DATE = re.compile(
    r"^date\s+\w+\.?\s+(?P<month>\w+)\.?\s+(?P<day>\d+)\s+(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)(?P<frac>\.\d+)?\s*"
    r"(?P<half>[ap]m)?\s+(?P<year>\d{4})",
    re.I,
)
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        [
            "jan",
            "feb",
            "mar,mär,mrz",
            "apr",
            "may,mai",
            "jun",
            "jul",
            "aug",
            "sep",
            "oct,okt",
            "nov",
            "dec,dez",
        ],
        start=1,
    )
    for name in names.split(",")
}


def sniff(head: list[str]) -> float:
    """The header decides; without one, the share of frames."""
    told = sum(bool(_HEADER.match(line)) for line in head[:6])
    return 1.0 if told >= 2 else share(head, re.compile(_MEANT).match)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader that knows base, date and kind of times."""
    lines = head["raw"].to_list()[:50]
    base = next((line.lower() for line in lines if re.match(r"base\s", line, re.I)), "")
    starts = [m for line in lines if (m := _DATE.match(line))]
    return Opened(_Reader("dec" in base.split(), "relative" in base.split(), _epoch_micros(starts)).read)


def _epoch_micros(found: list[re.Match[str]]) -> int:
    """Start of the recording in microseconds since 1970, 0 if unknown."""
    if not found:
        return 0
    at = found[0]
    hour, half = int(at["h"]), (at["half"] or "").lower()
    hour = hour % 12 + 12 * (half == "pm") if half and hour <= 12 else hour
    month = _MONTHS.get(at["month"].lower()[:3], 0)
    try:
        moment = dt.datetime(
            int(at["year"]), month, int(at["day"]), hour, int(at["m"]), int(at["s"]), tzinfo=dt.UTC
        )
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1_000_000 + round(float(at["frac"] or 0) * 1e6)


class _Reader:
    """Adds relative times up from block to block."""

    def __init__(self, decimal: bool, relative: bool, start: int) -> None:
        self._decimal, self._relative, self._micros = decimal, relative, start

    def read(self, table: pl.DataFrame) -> RawRows:
        fields = table
        for pattern in (_CLASSIC, _FD, _ERROR, _TIMED):
            fields = groups(fields, pattern)
        classic, fd, error = (pl.col(name).is_not_null() for name in ("t", "t2", "t3"))
        remote = (classic & (pl.col("kind") == "r")) | (
            fd & (pl.col("size") == "0") & (pl.col("code") != "0")
        )
        fields = fields.with_columns(
            time=self._times(fields.select(micros(pl.col("t4"))).to_series()),
            remote=remote.fill_null(False),
            name=pl.when(error & ~classic).then(pl.lit("0")).otherwise(pl.coalesce("id", "id2")),
            classic=classic,
        )
        return RawRows(self._rows(fields, fd, error), None)

    def _times(self, given: pl.Series) -> pl.Series:
        if not self._relative:
            return seconds(given + self._micros)
        sums = given.fill_null(0).cum_sum() + self._micros
        self._micros = int(sums[-1]) if len(sums) else self._micros
        return seconds(sums)

    def _rows(self, fields: pl.DataFrame, fd: pl.Expr, error: pl.Expr) -> pl.DataFrame:
        payload, right = lengths.agreed(fields["len"], fields["data"], decimal=self._decimal)
        number = pl.col("name").str.strip_suffix("x")
        if self._decimal:
            number = number.str.to_integer(strict=False)
        size = pl.col("size").cast(pl.Int64, strict=False)
        fd_data = squeeze(squeeze(pl.col("tail").str.extract(r"^((?:[0-9A-Fa-f]{2}\s+)*[0-9A-Fa-f]{2})\b")))
        meant = pl.col("raw").str.contains(_MEANT)
        fields = fields.with_columns(payload=payload, right=right)
        return fields.select(
            "line",
            "raw",
            "remote",
            t="time",
            other=pl.col("t4").is_not_null() & ~meant & ~error,
            broken=(pl.col("t4").is_null() | (meant & ~pl.col("classic") & ~fd & ~error))
            | (pl.col("classic") & ~pl.col("remote") & ~pl.col("right")),
            id=number,
            extended=pl.col("name").str.ends_with("x").fill_null(False),
            data=pl.when(error | pl.col("remote"))
            .then(pl.lit(""))
            .when(fd)
            .then(fd_data.fill_null("").str.slice(0, 2 * size))
            .otherwise("payload"),
            dlc=pl.when("remote")
            .then(pl.coalesce(lengths.code(pl.coalesce("len", "code")), pl.lit(0)).cast(pl.String))
            .when(fd)
            .then(size.cast(pl.String)),
            channel=pl.coalesce("channel", "channel2", "channel3", pl.lit("")),
            error=error,
            fd=fd | pl.col("fd3").is_not_null(),
            brs=(pl.col("brs") == "1").fill_null(False),
            esi=(pl.col("esi") == "1").fill_null(False),
        )


FORMAT: Final = Format(NAME, "Vector ASC", ".asc", sniff=sniff, open=open_, comment=_COMMENT)
