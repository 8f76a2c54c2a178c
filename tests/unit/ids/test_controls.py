"""Controls learn from benign training frames only, and score what they say they score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.errors import DataError
from candor.flow.stage import Inputs, Output
from candor.ids.captures.frames import COLUMNS
from candor.ids.captures.frames import write as write_frames
from candor.ids.config import ControlsConfig
from candor.ids.controls import NAMES, controls, read_bus
from candor.ids.graphs.store import WINDOW_DTYPE
from candor.ids.scoring import validate

WIDTH = 10


class Quiet:
    def log(self, step: int, metrics: object, *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


def traffic(
    seconds: float,
    ids: tuple[int, ...] = (0x100, 0x200),
    forged: tuple[tuple[float, int, bytes], ...] = (),
    hz: float = 100.0,
) -> pl.DataFrame:
    """Each ID every 1/hz s with a constant payload; forged frames are labelled."""
    rows = [
        (k / hz + i * 1e-3, ident, bytes([i]), 0)
        for k in range(int(seconds * hz))
        for i, ident in enumerate(ids)
    ]
    rows = sorted(rows + [(t, ident, data, 1) for t, ident, data in forged])
    return pl.DataFrame(
        {
            "timestamp": [r[0] for r in rows],
            "id": [r[1] for r in rows],
            "data": [r[2] for r in rows],
            "dlc": [len(r[2]) for r in rows],
            "label": [r[3] for r in rows],
            "attack": ["x" if r[3] else "" for r in rows],
            "flags": [0] * len(rows),
            "channel": [""] * len(rows),
        },
        schema=COLUMNS,
    )


def store(folder: Path, captures: dict[str, tuple[str, pl.DataFrame, list[int]]]) -> None:
    """A GraphStore folder as far as controls look: name → (vehicle, frames, first frames of its windows)."""
    folder.mkdir(parents=True)
    windows, y, metas = [], [], []
    for number, (name, (vehicle, df, starts)) in enumerate(captures.items()):
        t, label = df["timestamp"].to_numpy(), df["label"].to_numpy()
        for i, s in enumerate(starts):
            windows.append((number, s, i, t[s] - t[0], t[s + WIDTH - 1] - t[0], False, 0))
            y.append(int(label[s : s + WIDTH].any()))
        metas.append({"capture": name, "vehicle": vehicle, "scenario": "s"})
    np.save(folder / "window.npy", np.array(windows, WINDOW_DTYPE))
    np.save(folder / "y.npy", np.array(y, np.uint8))
    np.save(folder / "attack.npy", np.where(np.array(y), 0, -1).astype(np.int16))
    meta = {"captures": metas, "attacks": ["x"], "window": {"window_frames": WIDTH, "stride_frames": WIDTH}}
    (folder / "meta.json").write_text(json.dumps(meta))


def every(df: pl.DataFrame, stop: int | None = None) -> list[int]:
    return list(range(0, (stop or len(df)) - WIDTH + 1, WIDTH))


def run(
    folder: Path,
    train: pl.DataFrame,
    test: pl.DataFrame,
    *,
    train_windows: list[int] | None = None,
    test_vehicle: str = "kia",
) -> dict[str, np.ndarray]:
    """Test scores by control; the validation capture is the training one."""
    (folder / "out").mkdir(parents=True)
    for name, df in (("train", train), ("test", test)):
        write_frames(df, folder / "ingest" / "frames" / f"{name}.parquet")
    starts = every(train) if train_windows is None else train_windows
    store(folder / "build_train" / "train", {"train": ("kia", train, starts)})
    store(folder / "build_train" / "val", {"train": ("kia", train, every(train)[-3:])})
    store(folder / "build_test" / "test", {"test": (test_vehicle, test, every(test))})
    inputs = Inputs({n: folder / n for n in ("ingest", "build_train", "build_test")})
    controls(ControlsConfig(), inputs, Output(folder / "out", folder, Quiet(), Quiet()))
    scores = validate(pl.read_parquet(folder / "out" / "scores.parquet"))
    assert scores["variant"].unique().to_list() == ["control"]
    assert set(scores["split"]) == {"val", "test"}
    assert set(scores["detector"]) == set(NAMES)
    return {
        n: scores.filter(pl.col("split") == "test", pl.col("detector") == n)["score"].to_numpy()
        for n in NAMES
    }


def test_benign_traffic_scores_nothing(tmp_path: Path) -> None:
    got = run(tmp_path, traffic(2.0), traffic(1.0))
    for name in ("id_whitelist", "payload_whitelist", "timing"):
        assert (got[name] == 0).all()
    assert got["volume"].max() < 5


def test_unseen_ids_are_counted_per_window(tmp_path: Path) -> None:
    forged = tuple((0.5 + k * 1e-4, 0x7, b"\x00") for k in range(5))
    got = run(tmp_path, traffic(2.0), traffic(1.0, forged=forged))
    assert got["id_whitelist"].sum() == pytest.approx(0.5)
    assert got["timing"].max() == 0  # An ID without a known interval cannot be early.


def test_known_ids_with_unseen_payloads_are_caught_by_the_payload_whitelist_only(tmp_path: Path) -> None:
    got = run(tmp_path, traffic(2.0), traffic(1.0, forged=((0.5004, 0x100, b"\xff"),)))
    assert got["id_whitelist"].max() == 0
    assert got["payload_whitelist"].max() == pytest.approx(0.1)


def test_early_frames_raise_the_timing_control(tmp_path: Path) -> None:
    forged = tuple((0.5 + 0.0003 * (k + 1), 0x100, b"\x00") for k in range(6))
    got = run(tmp_path, traffic(2.0), traffic(1.0, forged=forged))
    assert got["timing"].max() >= 0.5
    assert np.argmax(got["timing"]) in (10, 11)


def test_more_frames_a_second_raise_the_volume_control(tmp_path: Path) -> None:
    forged = tuple((0.5 + 0.0001 * k, 0x100, b"\x00") for k in range(40))
    got = run(tmp_path, traffic(2.0), traffic(1.0, forged=forged))
    assert got["volume"].max() > 20 * np.median(got["volume"])


def test_a_place_in_the_capture_scores_by_itself_whatever_the_traffic(tmp_path: Path) -> None:
    """What comes last is worst, so an attack at the end is ranked right by a control that looks at no frame."""
    forged = tuple((0.9 + k * 1e-3, 0x7, b"\x00") for k in range(5))
    quiet, attacked = (
        run(tmp_path / name, traffic(2.0), test)
        for name, test in (("a", traffic(1.0)), ("b", traffic(1.0, forged=forged)))
    )
    assert (np.diff(quiet["position"]) > 0).all()
    assert (quiet["position"][:17] == attacked["position"][:17]).all()
    assert attacked["id_whitelist"].argmax() >= 17


def test_attack_frames_of_training_are_not_learned(tmp_path: Path) -> None:
    forged = tuple((0.5 + k * 1e-4, 0x7, b"\x00") for k in range(5))
    got = run(tmp_path, traffic(2.0, forged=forged), traffic(1.0, forged=forged))
    assert got["id_whitelist"].max() > 0


def test_frames_outside_training_windows_are_not_learned(tmp_path: Path) -> None:
    """A benign ID that shows up only after the training windows is unseen."""
    late = pl.concat([traffic(1.0), traffic(1.0, ids=(0x300,)).with_columns(pl.col("timestamp") + 1.0)])
    got = run(tmp_path, late, traffic(1.0, ids=(0x100, 0x300)), train_windows=every(late, 200))
    assert got["id_whitelist"].max() == pytest.approx(0.5)


def test_changing_test_traffic_leaves_validation_scores_alone(tmp_path: Path) -> None:
    kept = []
    for name, test in (("a", traffic(1.0)), ("b", traffic(1.0, ids=(0x9,), hz=500))):
        run(tmp_path / name, traffic(2.0), test)
        scores = pl.read_parquet(tmp_path / name / "out" / "scores.parquet")
        kept.append(scores.filter(pl.col("split") == "val"))
    assert kept[0].equals(kept[1])


def test_an_unknown_vehicle_is_judged_by_all_training_vehicles(tmp_path: Path) -> None:
    got = run(tmp_path, traffic(2.0), traffic(1.0), test_vehicle="spark")
    assert (got["timing"] == 0).all()
    assert np.isfinite(got["volume"]).all()


def test_training_without_a_benign_frame_is_an_error(tmp_path: Path) -> None:
    attacks = traffic(0.5).with_columns(pl.lit(1, pl.UInt8).alias("label"), pl.lit("x").alias("attack"))
    with pytest.raises(DataError, match="no benign frame"):
        run(tmp_path, attacks, traffic(0.5))


def test_a_capture_is_the_same_bus_however_many_row_groups_it_is_stored_in(tmp_path: Path) -> None:
    df = traffic(2.0, forged=((0.5, 0x300, b"\x07"), (1.5, 0x100, b"\x09")))
    df.write_parquet(tmp_path / "one.parquet")
    df.write_parquet(tmp_path / "many.parquet", row_group_size=7)
    one, many = (read_bus(tmp_path / f"{name}.parquet") for name in ("one", "many"))
    for name, column in vars(one).items():
        np.testing.assert_array_equal(getattr(many, name), column)
