"""Damaged Parquet is refused; it never reaches Polars, which takes Arrow's word for what it holds."""

from __future__ import annotations

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candor.errors import CaptureUnreadable
from candor.ids.captures import parquet
from candor.ids.captures.rows import RawRows


def test_text_that_is_no_utf8_is_refused() -> None:
    # Polars 2.1 ends in a segmentation fault over it.
    bad = pa.array([b"\xff\xfe\xfd" * 9] * 50, pa.binary()).view(pa.string())
    stream = io.BytesIO()
    pq.write_table(pa.table({"label": bad}), stream)
    rows = parquet.blocks(stream, "damaged.parquet", {"label": "text"}, lambda t: RawRows(t, {}))
    with pytest.raises(CaptureUnreadable, match=r"damaged\.parquet"):
        list(rows)


def test_rows_are_numbered_across_batches() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"label": ["a", "b", "c"]}), stream)
    (rows,) = parquet.blocks(stream, "x", {"label": "text"}, lambda t: RawRows(t, {}))
    assert rows.table.equals(
        pl.DataFrame({"line": [1, 2, 3], "label": ["a", "b", "c"]}, schema_overrides={"line": pl.Int64})
    )
