"""Rows with a decimal ID and one decimal column per byte, without timestamps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

_HEX: Final = [f"{value:02X}" for value in range(256)]


def split(table: pl.DataFrame, header: list[str], wanted: Iterable[str]) -> pl.DataFrame:
    """Columns line and raw → the wanted columns of a comma separated line, all null where their number is wrong."""
    fields = table.with_columns(fields=pl.col("raw").str.split(","))
    right = pl.col("fields").list.len() == len(header)
    cells = [
        pl.when(right)
        .then(pl.col("fields").list.get(header.index(name), null_on_oob=True).str.strip_chars())
        .alias(name)
        for name in wanted
    ]
    return fields.select("line", "raw", right.alias("whole"), *cells)


def rows(table: pl.DataFrame, ident: str, bytes_: Sequence[str]) -> pl.DataFrame:
    """Table of RawRows, without label; a byte that is no number of 0 to 255 makes the payload "??"."""
    kept = [name for name in ("line", "raw") if name in table.columns]
    broken = ~pl.col("whole") if "whole" in table.columns else pl.lit(False)
    digits = pl.Series("digits", [*_HEX, "??"])
    number = table.select(pl.col(name).cast(pl.Int64, strict=False) for name in bytes_)
    cells = [digits.gather(_code(number[name])).alias(name) for name in bytes_]
    data = pl.DataFrame(cells).select(pl.concat_str(pl.all())).to_series()
    return table.select(
        *kept,
        broken=broken,
        t=pl.lit(None, dtype=pl.Float64),
        id=pl.col(ident).cast(pl.Int64, strict=False),
        data=pl.Series("data", data),
    )


def _code(number: pl.Series) -> pl.Series:
    """Index of the byte's two digits; 256 where it is no byte."""
    return number.set(number.is_null() | ~number.is_between(0, 255), 256).cast(pl.UInt32)
