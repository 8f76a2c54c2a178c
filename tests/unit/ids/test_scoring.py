"""The score table: what every detector hands over, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.errors import CaptureUnreadable, DataError, SchemaMismatch
from candor.ids.scoring import SCORE_SCHEMA, read_scores, score_frame, validate, window_rows

WINDOW = [
    ("capture", "<i4"),
    ("start", "<i8"),
    ("index", "<i8"),
    ("t0", "<f8"),
    ("t1", "<f8"),
    ("calibration", "?"),
]


def store(folder: Path, starts: dict[str, list[int]], stride: int = 10) -> Path:
    """Window arrays of a GraphStore folder; the second window of every capture is an attack of the second family."""
    folder.mkdir(parents=True, exist_ok=True)
    window = [
        (c, s, i, s / 10, s / 10 + 1, i == 0)
        for c, at in enumerate(starts.values())
        for i, s in enumerate(at)
    ]
    y = [i == 1 for at in starts.values() for i in range(len(at))]
    np.save(folder / "window.npy", np.array(window, WINDOW))
    np.save(folder / "y.npy", np.array(y, np.uint8))
    np.save(folder / "attack.npy", np.where(y, 1, -1).astype(np.int16))
    captures = [{"capture": name, "vehicle": "kia", "scenario": f"of {name}"} for name in starts]
    meta = {
        "captures": captures,
        "attacks": ["dos", "gear"],
        "window": {"window_frames": 10, "stride_frames": stride},
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def frame(folder: Path, *, detector: str = "gat") -> pl.DataFrame:
    rows = window_rows(store(folder, {"a": [0, 10, 20], "b": [0, 10]}), "test")
    return score_frame(rows, np.arange(5) / 10, detector=detector, variant="teacher", seed=3)


def test_rows_carry_truth_and_place_of_every_window(tmp_path: Path) -> None:
    df = frame(tmp_path)
    assert dict(df.schema) == SCORE_SCHEMA
    assert df["capture"].to_list() == ["a", "a", "a", "b", "b"]
    assert df["scenario"].to_list()[-1] == "of b"
    assert df["attack"].to_list() == ["", "gear", "", "", "gear"]
    assert df["y"].to_list() == [0, 1, 0, 0, 1]
    assert df["calibration"].to_list() == [True, False, False, True, False]
    assert df["seed"].unique().to_list() == [3]


def test_window_numbers_are_neighbours_only_where_windows_are(tmp_path: Path) -> None:
    """Validation windows of two segments: the step over the cut is never one, however narrow the cut."""
    rows = window_rows(store(tmp_path, {"a": [0, 10, 23, 33], "b": [5, 15]}), "val")
    assert rows["window"].to_list() == [0, 1, 3, 4, 0, 1]


def test_windows_that_overlap_are_still_neighbours(tmp_path: Path) -> None:
    rows = window_rows(store(tmp_path, {"a": [0, 5, 10]}, stride=5), "test")
    assert rows["window"].to_list() == [0, 1, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_refused_by_name(tmp_path: Path, bad: float | None) -> None:
    df = frame(tmp_path).with_columns(
        pl.when(pl.col("capture") == "b").then(pl.lit(bad, pl.Float64)).otherwise("score").alias("score")
    )
    with pytest.raises(
        DataError, match=r"2 scores are not finite \(detector gat teacher, seed 3; first in capture b"
    ):
        validate(df)


def test_windows_without_valid_times_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no valid times"):
        validate(frame(tmp_path).with_columns(pl.lit(float("nan")).alias("t0")))
    with pytest.raises(DataError, match="no valid times"):
        validate(frame(tmp_path).with_columns(pl.lit(-1.0).alias("t1")))


def test_other_columns_or_types_are_refused(tmp_path: Path) -> None:
    df = frame(tmp_path)
    with pytest.raises(SchemaMismatch, match="extra"):
        validate(df.with_columns(pl.lit(1).alias("extra")))
    with pytest.raises(SchemaMismatch, match="seed"):
        validate(df.with_columns(pl.col("seed").cast(pl.Int32)))


def test_column_order_does_not_matter(tmp_path: Path) -> None:
    df = frame(tmp_path)
    assert validate(df.select(*reversed(df.columns))).equals(df)


def test_tables_are_joined_and_sorted(tmp_path: Path) -> None:
    for name in ("vgae", "gat"):
        (tmp_path / name).mkdir()
        frame(tmp_path / "store", detector=name).reverse().write_parquet(tmp_path / name / "scores.parquet")
    whole = read_scores(tmp_path / n / "scores.parquet" for n in ("vgae", "gat"))
    assert whole["detector"].to_list() == ["gat"] * 5 + ["vgae"] * 5
    assert whole["window"].to_list() == [0, 1, 2, 0, 1] * 2


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"no parquet")
    with pytest.raises(CaptureUnreadable, match=r"scores\.parquet"):
        read_scores([tmp_path / "scores.parquet"])
