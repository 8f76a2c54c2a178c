"""CSV of CSS Electronics' mdf2csv: ``TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;DataBytes``.

Columns are found by name; ESI and RTR are optional. ID in hexadecimal, DataLength in bytes (DLC is the code).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures.format import Format, Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "canedge_csv"
COLUMNS: Final = ("TimestampEpoch", "BusChannel", "ID", "IDE", "DLC", "DataLength", "DataBytes")
_FLAGS: Final = {"extended": "IDE", "remote": "RTR", "fd": "EDL", "brs": "BRS", "esi": "ESI"}


def sniff(head: list[str]) -> float:
    """The header decides."""
    return float(bool(head) and head[0].startswith("TimestampEpoch;"))


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header. Raises SchemaMismatch."""
    header = head["raw"][0].split(";") if head.height else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SchemaMismatch(
            f"columns {', '.join(header)[:200]} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {';'.join(COLUMNS)}.",
        )
    return Opened(lambda table: _read(table, header), header_lines=int(head["line"][0]))


def _read(table: pl.DataFrame, header: list[str]) -> RawRows:
    fields = table.with_columns(fields=pl.col("raw").str.split(";"))

    def field(name: str) -> pl.Expr:
        if name not in header:
            return pl.lit("0")
        return pl.col("fields").list.get(header.index(name), null_on_oob=True).str.strip_chars()

    remote = field("RTR") == "1"
    return RawRows(
        fields.select(
            "line",
            "raw",
            broken=pl.col("fields").list.len() != len(header),
            t=field("TimestampEpoch"),
            channel=field("BusChannel"),
            id=field("ID"),
            data=field("DataBytes"),
            dlc=pl.when(remote).then(field("DLC")).otherwise(field("DataLength")),
            **{flag: (field(name) == "1").fill_null(False) for flag, name in _FLAGS.items()},
        ),
        None,
    )


FORMAT: Final = Format(NAME, "CSS Electronics mdf2csv", ".csv", sniff=sniff, open=open_)
