from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_cases import Case, bus, flood, frames, ingest_folder, inputs, output

from candor.errors import SourceMissing
from candor.ids.config import CalibrationTask, SplitConfig
from candor.ids.graphs.calibration import calibrate, first_seconds, load_assignment, measure
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.stream import prepare
from candor.ids.graphs.windows import segments

CONFIG = CalibrationTask(calibration_s=1.0)


def run(tmp_path: Path, cases: list[Case], config: CalibrationTask = CONFIG) -> Path:
    out = output(tmp_path / "calibrate")
    calibrate(config, inputs(ingest=ingest_folder(tmp_path / "ingest", cases)), out)
    return out.path


def same(a: Profile, b: Profile) -> bool:
    return all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


def test_periods_are_recovered_despite_jitter() -> None:
    p = measure([prepare(bus(10.0))], kind="attack_free", vehicle="v", source=["c"])
    np.testing.assert_allclose(p.median_interval_s_P, 0.005 * np.arange(1, 7), rtol=0.02)
    assert p.log_spread_P.max() < 0.1
    assert p.frames_per_s == pytest.approx(p.frames / p.seconds)
    assert (p.byte_min_PB[1, 1], p.byte_max_PB[1, 1]) == (7, 7)


def test_a_few_injected_frames_do_not_move_the_profile_of_an_id() -> None:
    clean = measure([prepare(bus(10.0))], kind="stream", vehicle="v", source=["c"])
    dirty = measure(
        [prepare(flood(bus(10.0), 4.0, 4.2, identifier=0x105))], kind="stream", vehicle="v", source=["c"]
    )
    np.testing.assert_allclose(dirty.median_interval_s_P[:5], clean.median_interval_s_P[:5])
    assert dirty.median_interval_s_P[5] == pytest.approx(clean.median_interval_s_P[5], rel=0.1)


def test_permuted_labels_give_the_identical_profile(tmp_path: Path) -> None:
    attacked = flood(bus(3.0), 0.5, 0.8)
    shuffled = replace(attacked, y=np.random.default_rng(0).permutation(attacked.y))
    shuffled = replace(shuffled, attack_code=np.where(shuffled.y == 1, 0, -1).astype(np.int16))
    folders = [
        run(
            tmp_path / name,
            [Case("free", bus(3.0)), Case("hit", f, attack="dos"), Case("new", f, "test", "two", "dos")],
        )
        for name, f in (("a", attacked), ("b", shuffled))
    ]
    names = sorted(p.stem for p in (folders[0] / "profiles").glob("*.parquet"))
    assert names == sorted(p.stem for p in (folders[1] / "profiles").glob("*.parquet"))
    assert all(same(*(Profile.load(f / "profiles", name) for f in folders)) for name in names)


def test_a_vehicle_with_an_attack_free_capture_uses_it_and_an_unknown_one_its_own_first_seconds(
    tmp_path: Path,
) -> None:
    folder = run(
        tmp_path,
        [
            Case("free", bus(3.0)),
            Case("hit", bus(3.0), "test", attack="dos"),
            Case("new", bus(3.0), "test", "two", "dos"),
        ],
    )
    a = load_assignment(folder)
    assert (a["hit"].auto, a["hit"].attack_free, a["hit"].stream) == (
        "vehicle-one",
        "vehicle-one",
        "stream-hit",
    )
    assert (a["new"].auto, a["new"].attack_free) == ("stream-new", None)
    assert a["hit"].name("stream") == "stream-hit"
    assert Profile.load(folder / "profiles", "stream-new").seconds <= CONFIG.calibration_s


def test_stream_calibration_never_uses_the_vehicles_other_captures(tmp_path: Path) -> None:
    folder = run(
        tmp_path,
        [Case("free", bus(3.0)), Case("hit", bus(3.0), "test", attack="dos")],
        CONFIG.model_copy(update={"source": "stream"}),
    )
    assert {a.auto for a in load_assignment(folder).values()} == {"stream-free", "stream-hit"}


def test_validation_blocks_of_the_attack_free_capture_are_not_measured(tmp_path: Path) -> None:
    f = bus(10.0)
    split = SplitConfig(blocks=4, validation_every=4, validation_offset=1, embargo_frames=20)
    start, stop = next((s.start, s.stop) for s in segments(len(f.t), split) if s.side == "val")
    spoiled = replace(f, data=f.data.copy(), id=f.id.copy())
    spoiled.data[start:stop, 7] = 255
    spoiled.id[start:stop] = 0x7FF
    config = CONFIG.model_copy(update={"split": split})
    clean, dirty = (run(tmp_path / n, [Case("free", x)], config) for n, x in (("a", f), ("b", spoiled)))
    assert same(*(Profile.load(x / "profiles", "vehicle-one") for x in (clean, dirty)))


def test_no_interval_crosses_the_gap_between_two_pieces() -> None:
    f = frames(np.r_[np.arange(5) * 0.01, 100 + np.arange(5) * 0.01], [1] * 10)
    p = measure([prepare(f, 0, 5), prepare(f, 5, 10)], kind="attack_free", vehicle="v", source=["c"])
    assert p.seconds == pytest.approx(0.08)
    assert p.log_spread_P[0] == pytest.approx(0.0, abs=1e-6)


def test_an_id_seen_once_is_known_to_come_no_more_often_than_the_calibration_lasted() -> None:
    p = measure([prepare(frames([0.0, 1.0, 4.0], [1, 2, 1]))], kind="stream", vehicle="v", source=["c"])
    assert p.median_interval_s_P.tolist() == [4.0, 4.0]


@pytest.mark.parametrize("n", [0, 1])
def test_a_capture_of_at_most_one_frame_still_has_a_profile(n: int) -> None:
    p = first_seconds(frames([0.0] * n, [1] * n), 1.0, vehicle="v", capture="c")
    assert p.frames == n
    assert p.frames_per_s == 0
    assert np.isfinite(p.median_interval_s_P).all()


def test_a_profile_survives_saving(tmp_path: Path) -> None:
    p = first_seconds(bus(2.0), 1.0, vehicle="v", capture="c")
    p.save(tmp_path, "p")
    assert same(p, Profile.load(tmp_path, "p"))
    with pytest.raises(SourceMissing, match="no profile 'q'"):
        Profile.load(tmp_path, "q")


def test_dlc_codes_cover_classic_and_fd_lengths() -> None:
    assert dlc_code(np.array([0, 8, 12, 48, 64], np.uint8)).tolist() == [0, 8, 9, 14, 15]


def test_names_that_are_no_file_names_are_made_safe(tmp_path: Path) -> None:
    folder = run(tmp_path, [Case("free", bus(1.0), vehicle="KIA Soul/2017")])
    assert (folder / "profiles" / "vehicle-KIA_Soul_2017.parquet").exists()
