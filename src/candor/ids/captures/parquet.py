"""Captures kept as Parquet by others: their columns checked once, their rows read a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.errors import CaptureUnreadable, SchemaMismatch
from candor.ids.captures.rows import RawRows

MAGIC: Final = b"PAR1"
_BATCH_ROWS = 200_000

#: Column → a word of the types it may have.
Columns = dict[str, str]

_KINDS: Final[dict[str, Callable[[pl.DataType], bool]]] = {
    "number": lambda t: t.is_numeric(),
    "integer": lambda t: t.is_integer(),
    "text": lambda t: t == pl.String,
    "truth": lambda t: t.is_numeric() or t == pl.Boolean,
}


def is_parquet(start: bytes) -> bool:
    """Whether the first bytes are Parquet's."""
    return start.startswith(MAGIC)


def names(stream: BinaryIO, place: str) -> list[str]:
    """Column names. Raises CaptureUnreadable."""
    return list(open_file(stream, place).schema_arrow.names)


def blocks(
    stream: BinaryIO, place: str, columns: Columns, convert: Callable[[pl.DataFrame], RawRows]
) -> Iterator[RawRows]:
    """Batches of the wanted columns with column line, each converted. Raises SchemaMismatch, CaptureUnreadable."""
    file = open_file(stream, place)
    found = list(file.schema_arrow.names)
    missing = [name for name in columns if name not in found]
    if missing:
        raise SchemaMismatch(
            f"columns {', '.join(found)} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {', '.join(columns)}.",
        )
    done = 0
    try:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
            table = as_table(batch)
            _check_types(table, columns, place)
            numbered = table.with_row_index("line", offset=done + 1).with_columns(
                pl.col("line").cast(pl.Int64)
            )
            yield convert(numbered)
            done += table.height
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError, UnicodeDecodeError) as e:
        raise unreadable(e, place) from e


def open_file(stream: BinaryIO, place: str) -> pq.ParquetFile:
    """The file at its footer. Raises CaptureUnreadable."""
    try:
        return pq.ParquetFile(stream)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as e:
        raise unreadable(e, place) from e


def as_table(batch: pa.RecordBatch) -> pl.DataFrame:
    """Rows of a batch. Raises UnicodeDecodeError for a damaged name, ArrowInvalid for damaged text or offsets.

    Polars checks neither what it takes over from Arrow (text that is no UTF-8 ends in a segmentation fault) nor
    the names and notes that a damaged file gives a column, and panics over them.
    """
    batch.validate(full=True)
    bare = pa.Table.from_arrays(batch.columns, names=batch.schema.names)
    try:
        return pl.DataFrame(pl.from_arrow(bare))
    except pl.exceptions.PanicException as e:
        raise pa.ArrowInvalid(str(e)) from e


def unreadable(e: Exception, place: str) -> CaptureUnreadable:
    """The error for a file that is damaged."""
    return CaptureUnreadable(f"Parquet cannot be read: {e}", place=place, hint="Fetch the file again.")


def _check_types(table: pl.DataFrame, columns: Columns, place: str) -> None:
    for name, kind in columns.items():
        if not _KINDS[kind](table.schema[name]):
            raise SchemaMismatch(f"column '{name}' has type {table.schema[name]}", place=place)
