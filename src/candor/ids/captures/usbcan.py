"""USBCAN CANTest text: tab separated Index, Direction, Time, ID, Format, Type, Length, Data.

``3820000  Receive  16:22:08.231.0  0x1dff1a03  Data  Extend  8  C2 FF 00 78 00 00 00 F0``. The clock has no date, so
times count from the midnight before the first frame, and go on past the next.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.format import Format, Opened, groups, seconds, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "usbcan"

_LINE = (
    r"^\d+\s+(?:Receive|Transmit|Send)\s+(?<h>\d{1,2}):(?<m>\d{2}):(?<s>\d{2})\.(?<ms>\d{3})(?:\.(?<rest>\d+))?\s+"
    r"(?:0x)?(?<id>\S+)\s+(?<kind>Data|Remote)\s+(?<type>Extend|Standard)\s+(?:0x)?(?<dlc>\S+)(?<data>(?:\s+\S{2})*)$"
)
_DAY_MICROS = 86_400_000_000


def sniff(head: list[str]) -> float:
    """The header decides; its time column is spelled Timesteamp."""
    first = head[0].split() if head else []
    return float(first[:2] == ["Index", "Direction"] and "Format" in first and "Length" in first)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header."""
    named = head.height > 0 and head["raw"][0].startswith("Index")
    return Opened(_Clock().read, header_lines=int(head["line"][0]) if named else 0)


class _Clock:
    """Carries midnights from block to block."""

    def __init__(self) -> None:
        self._day, self._last = 0, -1

    def read(self, table: pl.DataFrame) -> RawRows:
        fields = groups(table, _LINE)
        of_day = fields.select(_micros()).to_series()
        before = of_day.fill_null(strategy="forward").shift(1).fill_null(self._last)
        day = (of_day < before - _DAY_MICROS // 2).fill_null(False).cast(pl.Int64).cum_sum() + self._day
        if len(day):
            known = of_day.drop_nulls()
            self._day, self._last = int(day[-1]), int(known[-1]) if len(known) else self._last
        return RawRows(
            fields.select(
                "line",
                "raw",
                "id",
                "dlc",
                broken=pl.col("id").is_null(),
                t=seconds(of_day + day * _DAY_MICROS),
                data=squeeze(pl.col("data")),
                extended=(pl.col("type") == "Extend").fill_null(False),
                remote=(pl.col("kind") == "Remote").fill_null(False),
            ),
            None,
        )


def _micros() -> pl.Expr:
    """Microseconds since midnight; what follows the milliseconds are their next decimals."""
    h, m, s, ms = (pl.col(name).cast(pl.Int64, strict=False) for name in ("h", "m", "s", "ms"))
    rest = pl.col("rest").fill_null("0").str.slice(0, 3).str.pad_end(3, "0").cast(pl.Int64, strict=False)
    return (((h * 60 + m) * 60 + s) * 1000 + ms) * 1000 + rest


FORMAT: Final = Format(NAME, "USBCAN CANTest text", ".txt", sniff=sniff, open=open_)
