from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from candor.ids.captures.tables import TableWriter, read_in_pieces, regroup


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "t.parquet"
    with TableWriter(path) as writer:
        for part in pl.DataFrame({"x": range(50), "y": ["a"] * 50}).iter_slices(8):
            writer.append(part)
    return path


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3, 47), (8, 16), (9, 10), (49, 50), (20, 20)])
def test_a_range_of_rows_is_read_across_row_groups(stored: Path, start: int, stop: int | None) -> None:
    pieces = list(read_in_pieces(stored, 3, start=start, stop=stop))
    assert [x for piece in pieces for x in piece["x"]] == list(range(50))[start:stop]
    assert all(0 < piece.height <= 3 for piece in pieces)


def test_pieces_are_put_together_again(stored: Path) -> None:
    tables = list(regroup(read_in_pieces(stored, 3, columns=["x"]), 20))
    assert [t.height for t in tables] == [20, 20, 10]
    assert pl.concat(tables)["x"].to_list() == list(range(50))
    assert tables[0].columns == ["x"]


def test_a_table_without_rows_makes_no_file(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "t.parquet") as writer:
        writer.append(pl.DataFrame({"x": []}))
    assert not (tmp_path / "t.parquet").exists()
