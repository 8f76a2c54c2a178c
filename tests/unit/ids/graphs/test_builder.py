from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from graph_cases import Case, bus, flood, frames, ingest_folder, inputs, output

from candor.errors import CaptureRejected
from candor.ids.config import CalibrationTask, GraphConfig, SplitConfig, WindowConfig
from candor.ids.graphs import blocks, builder, pieces
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.scaler import Scaler
from candor.ids.graphs.store import GraphStore

CONFIG = GraphConfig(
    splits=("train", "val"),
    window=WindowConfig(window_frames=20, stride_frames=20),
    split=SplitConfig(blocks=10, embargo_frames=20),
)
CASES = [
    Case("free", bus(4.0)),
    Case("hit", flood(bus(4.0, seed=1), 0.3, 3.5), attack="dos"),
    Case("known", flood(bus(4.0, seed=2), 1.5, 3.0), "test", attack="dos"),
    Case("new", flood(bus(4.0, seed=3, offset=0x200), 1.5, 3.0, attack="fuzzing"), "test", "two", "fuzzing"),
]


def prepared(tmp_path: Path, cases: list[Case]) -> dict[str, Path]:
    ingest = ingest_folder(tmp_path / "ingest", cases)
    out = output(tmp_path / "calibrate")
    calibrate(CalibrationTask(calibration_s=1.0, split=CONFIG.split), inputs(ingest=ingest), out)
    return {"ingest": ingest, "calibrate": out.path}


def run(tmp_path: Path, config: GraphConfig = CONFIG, cases: list[Case] = CASES) -> Path:
    out = output(tmp_path / "build")
    build(config, inputs(**prepared(tmp_path, cases)), out)
    return out.path


def test_each_split_is_built_from_its_own_captures(tmp_path: Path) -> None:
    folder = run(tmp_path, CONFIG.model_copy(update={"splits": ("train", "val", "test")}))
    names = {
        s: [c["capture"] for c in GraphStore.open(folder / s).meta["captures"]]
        for s in ("train", "val", "test")
    }
    assert names == {"train": ["free", "hit"], "val": ["free", "hit"], "test": ["known", "new"]}


def test_the_fit_comes_from_benign_training_windows_and_benign_nodes_only(tmp_path: Path) -> None:
    folder = run(tmp_path)
    train = GraphStore.open(folder / "train")
    benign = train.gather(np.flatnonzero(train.y_G == 0)).x_ND.astype(float)
    scaler = Scaler.from_json(json.loads((folder / "scaler.json").read_text())["x"])
    np.testing.assert_allclose(scaler.mean, benign.mean(axis=0), rtol=1e-9, atol=1e-12)
    assert 0 < (train.y_G == 1).mean() < 1
    assert json.loads((folder / "vocabulary.json").read_text())["ids"] == list(range(0x100, 0x106))


def test_a_build_without_train_fits_nothing(tmp_path: Path) -> None:
    folder = run(tmp_path, CONFIG.model_copy(update={"splits": ("test",)}))
    assert sorted(p.name for p in folder.iterdir()) == ["test"]


def test_training_windows_come_once_per_profile_and_validation_windows_once(tmp_path: Path) -> None:
    once, twice = (
        run(tmp_path / "a"),
        run(tmp_path / "b", CONFIG.model_copy(update={"profiles": ("auto", "stream")})),
    )
    a, b = GraphStore.open(once / "train"), GraphStore.open(twice / "train")
    assert len(b) == 2 * len(a)
    np.testing.assert_array_equal(np.unique(b.window_G["start"]), np.unique(a.window_G["start"]))
    assert set(b.window_G["profile"].tolist()) == {0, 1}
    assert not np.array_equal(
        b.subset(b.window_G["profile"] == 1).gather(range(9)).x_ND, a.gather(range(9)).x_ND
    )
    assert len(GraphStore.open(twice / "val")) == len(GraphStore.open(once / "val"))


def test_a_vehicle_without_attack_free_capture_is_not_built_twice_with_the_same_profile(
    tmp_path: Path,
) -> None:
    config = CONFIG.model_copy(update={"profiles": ("auto", "stream")})
    cases = [Case("hit", flood(bus(4.0), 2.0, 3.0), attack="dos")]
    assert set(GraphStore.open(run(tmp_path, config, cases) / "train").window_G["profile"].tolist()) == {0}


def test_only_windows_of_a_stream_calibrated_capture_are_marked_as_calibration(tmp_path: Path) -> None:
    test = GraphStore.open(run(tmp_path, CONFIG.model_copy(update={"splits": ("test",)})) / "test")
    known, new = (test.window_G["capture"] == i for i in (0, 1))
    assert not test.window_G["calibration"][known].any()
    assert (test.window_G["calibration"][new] == (test.window_G["t0"][new] < 1.0)).all()
    assert test.meta["captures"][1]["calibration_end_s"] == 1.0


def test_short_captures_give_no_window_and_are_reported(tmp_path: Path) -> None:
    cases = [*CASES, Case("single", frames([0.0], [1]), attack="dos")]
    out = output(tmp_path / "build")
    result = build(CONFIG, inputs(**prepared(tmp_path, cases)), out)
    assert result.summary["train"]["captures_without_window"] == ["single"]
    assert GraphStore.open(out.path / "train").meta["captures"][-1]["frames"] == 1


def test_the_sizes_of_pieces_and_blocks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = GraphStore.open(run(tmp_path / "a") / "train")
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", 60)
    monkeypatch.setattr(pieces, "PIECE_EVENTS", 100)
    monkeypatch.setattr(builder, "HELD_FRAMES", 0)  # Read once for each profile.
    parts = GraphStore.open(run(tmp_path / "b") / "train")
    for name in ("x", "edge_attr", "edge_index", "node_ptr", "window", "y"):
        np.testing.assert_array_equal(whole._arrays[name], parts._arrays[name])


def test_attack_codes_are_the_stores_own(tmp_path: Path) -> None:
    test = GraphStore.open(run(tmp_path, CONFIG.model_copy(update={"splits": ("test",)})) / "test")
    assert test.meta["attacks"] == ["dos", "fuzzing"]
    assert set(test.attack_G[test.window_G["capture"] == 1].tolist()) == {-1, 1}
    assert ((test.attack_G >= 0) == (test.y_G == 1)).all()


def test_windows_of_a_declared_attack_without_attack_frames_are_attack_windows(tmp_path: Path) -> None:
    f = bus(4.0, seed=5)
    keep = ~((f.id == 0x100) & (f.t > 2) & (f.t < 3))
    silent = frames(f.t[keep], f.id[keep], data=f.data[keep])
    case = Case("mute", silent, "test", attack="suppress", events=[("suppress", 2.0, 3.0)])
    test = GraphStore.open(
        run(tmp_path, CONFIG.model_copy(update={"splits": ("test",)}), [CASES[0], case]) / "test"
    )
    w = test.window_G
    assert (test.y_G == ((w["t0"] <= 3.0) & (w["t1"] >= 2.0))).all()
    assert test.meta["attacks"] == ["suppress"]
    assert not test.node_y_N.any()


def test_training_data_of_attacks_alone_is_refused(tmp_path: Path) -> None:
    f = bus(4.0)
    attacked = frames(f.t, f.id, y=np.ones(len(f.t)))
    with pytest.raises(CaptureRejected, match="no benign window"):
        run(tmp_path, CONFIG, [Case("hit", attacked, attack="dos")])


def test_a_data_set_without_any_attack_builds(tmp_path: Path) -> None:
    folder = run(tmp_path, CONFIG, [Case("free", bus(4.0))])
    assert not GraphStore.open(folder / "train").y_G.any()
    assert GraphStore.open(folder / "val").meta["attacks"] == []


def test_no_test_captures_gives_an_empty_store(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"splits": ("test",)})
    assert len(GraphStore.open(run(tmp_path, config, [Case("free", bus(4.0))]) / "test")) == 0
