"""J1939 attack sets (SystemsCyber), labelled: columns timestamp, iface, can_id (decimal), dlc, data and label.

Every identifier has 29 bits. The label is "normal" or the name of the attack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures import parquet
from candor.ids.captures.format import Format, Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "j1939"
LABELS: Final[dict[str | int, int]] = {"0": 0, "1": 1}
COLUMNS: Final = {
    "timestamp": "number",
    "iface": "text",
    "can_id": "integer",
    "dlc": "integer",
    "data": "text",
    "label": "text",
}


def sniff(head: list[str]) -> float:
    """The header decides."""
    return float(bool(head) and set(head[0].split(",")) >= {*COLUMNS, "pgn"})


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header. Quoted fields with commas stand behind the columns wanted."""
    header = [name.strip() for name in head["raw"][0].split(",")] if head.height else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SchemaMismatch(
            f"columns {', '.join(header)[:200]} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {','.join(COLUMNS)}.",
        )

    def read(table: pl.DataFrame) -> RawRows:
        fields = table.with_columns(fields=pl.col("raw").str.split(","))
        cells = {
            name: pl.col("fields").list.get(header.index(name), null_on_oob=True).str.strip_chars()
            for name in COLUMNS
        }
        whole = (pl.col("fields").list.len() >= len(header)).alias("whole")
        return _convert(fields.select("line", "raw", whole, **cells))

    return Opened(read, header_lines=int(head["line"][0]))


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows of a Parquet copy. Raises SchemaMismatch, CaptureUnreadable."""
    return parquet.blocks(stream, place, COLUMNS, _convert)


def _convert(table: pl.DataFrame) -> RawRows:
    kept = [name for name in ("line", "raw") if name in table.columns]
    label = pl.col("label")
    normal = label.str.to_lowercase() == "normal"
    return RawRows(
        table.select(
            *kept,
            broken=~pl.col("whole") if "whole" in table.columns else pl.lit(False),
            t=pl.col("timestamp"),
            id=pl.col("can_id").cast(pl.Int64, strict=False),
            data=pl.col("data").str.replace_all(r"\s", ""),
            dlc=pl.col("dlc").cast(pl.String),
            channel="iface",
            extended=pl.lit(True),
            label=pl.when(normal).then(pl.lit("0")).when(label != "").then(pl.lit("1")),
            family=label,
        ),
        LABELS,
    )


FORMAT: Final = Format(
    NAME,
    "J1939 attack sets, labelled CSV and Parquet",
    ".csv",
    labelled=True,
    sniff=sniff,
    open=open_,
    blocks=blocks,
    is_binary=parquet.is_parquet,
)
