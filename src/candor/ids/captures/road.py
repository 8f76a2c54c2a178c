"""ROAD as processed by others: headerless ``id,data_0,...,data_7,label``, CSV or Parquet, all decimal.

The raw ROAD logs are candump files. This copy lost timestamps (see format.UNTIMED_STEP_S) and payload lengths (every
row is padded to eight bytes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import polars as pl

from candor.ids.captures import decimals, parquet
from candor.ids.captures.format import Format, Opened, share
from candor.ids.captures.rows import RawRows

NAME: Final = "road"
LABELS: Final[dict[str | int, int]] = {"0": 0, "1": 1}

_BYTES = tuple(f"data_{i}" for i in range(8))
COLUMNS: Final = {"id": "integer", **dict.fromkeys(_BYTES, "integer"), "label": "truth"}

_LOOKS = re.compile(r"^\d{1,4}(,\d{1,3}){8},[01](\.0)?$")


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader; a first line that names the columns is skipped."""
    named = head.height > 0 and head["raw"][0].startswith("id,")
    return Opened(
        lambda table: _convert(decimals.split(table, list(COLUMNS), COLUMNS)),
        header_lines=int(head["line"][0]) if named else 0,
    )


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows of a Parquet copy. Raises SchemaMismatch, CaptureUnreadable."""
    return parquet.blocks(stream, place, COLUMNS, _convert)


def _convert(table: pl.DataFrame) -> RawRows:
    value = pl.col("label").cast(pl.Float64, strict=False)
    label = table.select(pl.when(value == 0).then(pl.lit("0")).when(value == 1).then(pl.lit("1"))).to_series()
    return RawRows(decimals.rows(table, "id", _BYTES).with_columns(label=label), LABELS)


FORMAT: Final = Format(
    NAME,
    "ROAD, processed",
    ".csv",
    labelled=True,
    sniff=lambda head: share(head, _LOOKS.match),
    open=open_,
    blocks=blocks,
    is_binary=parquet.is_parquet,
    timed=False,
)
