from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.errors import CaptureUnreadable, SchemaMismatch
from candor.ids.captures.frame_file import FrameArray, FrameFile
from candor.ids.captures.frames import COLUMNS, ERROR, to_arrays, without_errors

PER_FRAME = ("t", "id", "data", "dlc", "y", "attack_code", "flags")


@pytest.fixture
def table() -> pl.DataFrame:
    n = 1000
    rng = np.random.default_rng(0)
    attack = np.where(np.arange(n) < 700, "", np.where(np.arange(n) < 900, "fuzzing", "dos"))
    flags = rng.choice([0, 1, ERROR], n, p=[0.6, 0.3, 0.1])
    size = rng.integers(0, 9, n)
    return pl.DataFrame(
        {
            "timestamp": 5.0 + np.cumsum(rng.exponential(1e-3, n)),
            "id": rng.integers(0, 2048, n),
            "data": [bytes(rng.integers(0, 256, k).tolist()) for k in size],
            "dlc": size,
            "label": (attack != "").astype(np.uint8),
            "attack": attack,
            "flags": flags,
            "channel": "",
        }
    ).cast(COLUMNS)


def test_row_groups_one_after_the_other_are_the_capture(tmp_path: Path, table: pl.DataFrame) -> None:
    table.write_parquet(tmp_path / "c.parquet", row_group_size=130)
    expected = without_errors(to_arrays(table))
    capture = FrameFile(tmp_path / "c.parquet")
    parts = list(capture.frames())
    assert len(parts) > 5
    assert len(capture) == len(expected)
    assert capture.num_errors == 1000 - len(expected)
    assert list(capture.attack_names) == expected.attack_names == ["dos", "fuzzing"]
    for name in PER_FRAME:
        np.testing.assert_array_equal(
            np.concatenate([getattr(p, name) for p in parts]), getattr(expected, name)
        )
    np.testing.assert_array_equal(np.concatenate(list(capture.times())), expected.t)
    here = capture.cursor().rows(100, 500)
    np.testing.assert_array_equal(here.id, expected.id[100:500])


def test_a_capture_in_memory_reads_as_one_on_disk(tmp_path: Path, table: pl.DataFrame) -> None:
    table.write_parquet(tmp_path / "c.parquet", row_group_size=130)
    disk, memory = FrameFile(tmp_path / "c.parquet"), FrameArray(to_arrays(table))
    for other in (memory, disk.held()):
        assert (len(disk), disk.num_errors) == (len(other), other.num_errors)
        assert list(disk.attack_names) == list(other.attack_names)
        a, b = disk.cursor().rows(17, 600), other.cursor().rows(17, 600)
        for name in PER_FRAME:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("rows", [slice(0, 500), slice(500, 1000), slice(750, 800), slice(0, 1)])
def test_what_a_capture_holds_does_not_hang_on_the_files_statistics(
    tmp_path: Path, table: pl.DataFrame, statistics: bool, rows: slice
) -> None:
    part = table[rows].with_columns(
        flags=pl.col("flags") * 2
    )  # ERROR becomes FD, which is more and no error.
    part.write_parquet(tmp_path / "c.parquet", row_group_size=130, statistics=statistics)
    capture, expected = FrameFile(tmp_path / "c.parquet"), to_arrays(part)
    assert (len(capture), capture.num_errors) == (len(part), 0)
    assert list(capture.attack_names) == expected.attack_names
    np.testing.assert_array_equal(np.concatenate(list(capture.times())), expected.t)


def test_a_capture_without_frames_is_empty(tmp_path: Path, table: pl.DataFrame) -> None:
    table.clear().write_parquet(tmp_path / "c.parquet")
    capture = FrameFile(tmp_path / "c.parquet")
    assert (len(capture), capture.attack_names) == (0, ())
    assert sum(map(len, capture.frames())) == 0


def test_what_is_no_frame_table_is_told_by_name(tmp_path: Path, table: pl.DataFrame) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(CaptureUnreadable, match="frames cannot be read"):
        FrameFile(tmp_path / "cut.parquet")
    table.with_columns(dlc=pl.col("dlc") + 1).write_parquet(tmp_path / "long.parquet")
    with pytest.raises(SchemaMismatch, match="payload length equals dlc"):
        list(FrameFile(tmp_path / "long.parquet").frames())
