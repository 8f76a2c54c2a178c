"""Tables of a capture on disk, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.errors import CaptureUnreadable


def row_groups(path: Path, what: str, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """Columns of a table that ingest wrote (all by default). Raises CaptureUnreadable, which says ``what`` it is."""
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield pl.DataFrame(pl.from_arrow(file.read_row_group(group, columns=columns)))
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as e:
        raise CaptureUnreadable(
            f"{what} cannot be read: {e}", place=path.name, hint="Ingest the capture again."
        ) from e
