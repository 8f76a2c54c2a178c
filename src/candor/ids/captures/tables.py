"""A Parquet file written a table at a time, so that a capture of any size needs the memory of a piece of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.ids.captures import frames


class TableWriter:
    """Appends tables of one schema, a row group each; the file is made with its first row.

    ``schema``: that of the first table where none is given. Raises StorageFull.
    """

    def __init__(self, path: Path, schema: pa.Schema | None = None) -> None:
        self._path, self._schema = path, schema
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def append(self, table: pl.DataFrame) -> None:
        """Add rows; an empty table adds nothing."""
        if table.is_empty():
            return
        arrow = table.to_arrow()
        with frames.storage(self._path):
            if self._writer is None:
                self._schema = self._schema or arrow.schema
                self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
            self._writer.write_table(arrow.cast(self._schema))

    def __exit__(self, *_: Any) -> None:
        if self._writer is not None:
            with frames.storage(self._path):
                self._writer.close()


def read_in_pieces(
    path: Path, rows: int, *, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Rows ``[start, stop)`` of a Parquet file, at most ``rows`` at a time; row groups outside are not read."""
    chosen = None if columns is None else list(columns)
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            if last > start and (stop is None or first < stop):
                for batch in file.iter_batches(rows, row_groups=[group], columns=chosen):
                    table = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
                    low, high = max(start - first, 0), table.height if stop is None else stop - first
                    part = table[low : max(high, low)]
                    if part.height:
                        yield part
                    first += table.height
            first = last


def regroup(tables: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in tables of ``rows``, the last one shorter."""
    waiting: list[pl.DataFrame] = []
    held = 0
    for table in tables:
        waiting.append(table)
        held += table.height
        while held >= rows:
            whole = pl.concat(waiting)
            yield whole.head(rows)
            waiting = [whole.slice(rows)]
            held -= rows
    if held:
        yield pl.concat(waiting)
