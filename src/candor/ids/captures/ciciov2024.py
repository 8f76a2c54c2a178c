"""CICIoV2024, decimal: ``ID,DATA_0,...,DATA_7,label,category,specific_class``, as CSV or Parquet.

Neto et al., 2024. IDs and bytes are decimal; rows are padded to eight bytes, so the true length is lost. There are no
timestamps: see format.UNTIMED_STEP_S.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures import decimals, parquet
from candor.ids.captures.format import Format, Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "ciciov2024"
LABELS: Final[dict[str | int, int]] = {"BENIGN": 0, "ATTACK": 1}

_BYTES = tuple(f"DATA_{i}" for i in range(8))
COLUMNS: Final = {
    "ID": "integer",
    **dict.fromkeys(_BYTES, "integer"),
    "label": "text",
    "specific_class": "text",
}


def sniff(head: list[str]) -> float:
    """The header decides."""
    return float(bool(head) and set(head[0].split(",")) >= {"ID", *_BYTES, "label"})


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header. Raises SchemaMismatch."""
    header = [name.strip() for name in head["raw"][0].split(",")] if head.height else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SchemaMismatch(
            f"columns {', '.join(header)[:200]} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {','.join(COLUMNS)}.",
        )
    return Opened(
        lambda table: _convert(decimals.split(table, header, COLUMNS)), header_lines=int(head["line"][0])
    )


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows of a Parquet copy. Raises SchemaMismatch, CaptureUnreadable."""
    return parquet.blocks(stream, place, COLUMNS, _convert)


def _convert(table: pl.DataFrame) -> RawRows:
    return RawRows(
        decimals.rows(table, "ID", _BYTES).with_columns(
            label=table["label"].str.to_uppercase(), family=table["specific_class"].str.to_lowercase()
        ),
        LABELS,
    )


FORMAT: Final = Format(
    NAME,
    "CICIoV2024 CSV and Parquet",
    ".csv",
    labelled=True,
    sniff=sniff,
    open=open_,
    blocks=blocks,
    is_binary=parquet.is_parquet,
    timed=False,
)
