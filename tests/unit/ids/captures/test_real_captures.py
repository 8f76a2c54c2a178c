"""Facts of published captures, checked where the shared pack is at hand (it may not be redistributed)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from candor.ids.captures import files, formats, rows, stream
from candor.ids.captures import frames as fr

PACK = Path(os.environ.get("CANDOR_SHARED_DATA") or Path(__file__).parents[5] / "shared" / "data")

pytestmark = pytest.mark.skipif(not (PACK / "raw").is_dir(), reason="no shared data pack")


def parse(relative: str) -> rows.Parsed:
    content = files.read_bytes(PACK / relative)
    kind = formats.recognise(content, relative)
    parsed = stream.parse(content, kind, relative, max_backstep_s=1.0)
    fr.validate(parsed.frames)
    return parsed


def test_the_original_csv_and_the_mirrored_parquet_are_the_same_frames() -> None:
    csv = parse("raw/can_train_and_test_csv/set_01_train_02_DoS-1.csv.gz")
    mirror = parse("can/dataset=set_01/split=train_02_with_attacks/DoS-1.parquet")
    assert csv.frames.height == 90_169
    assert fr.content_hash(csv.frames) == fr.content_hash(mirror.frames)


def test_otids_has_its_remote_frames() -> None:
    table = parse("raw/hcrl_txt/otids_Attack_free_dataset_10k.txt.gz").frames
    assert int(((table["flags"] & fr.REMOTE) != 0).sum()) == 424


def test_hcrl_csv_rows_are_all_frames() -> None:
    parsed = parse("raw/hcrl_csv/RECONSTRUCTED_survival_DoS-kia_6000.csv")
    assert (parsed.frames.height, int(parsed.frames["label"].sum())) == (6000, 1348)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("gt86_vsslog.log.gz", 19_878),
        ("j1939_truck_15s_engine-on.log.gz", 9_950),
        ("simnet_candump.log", 2_720),
    ],
)
def test_candumps_are_read_whole(name: str, frames: int) -> None:
    parsed = parse(f"raw/candump_log/{name}")
    assert (parsed.frames.height, parsed.quarantined.height) == (frames, 0)


def test_classic_and_fd_frames_of_one_log_are_told_apart() -> None:
    table = parse("raw/cross_format_equivalent/multiple_CAN.log").frames
    assert table.height == 164
    assert set(table["dlc"].to_list()) >= {0, 8, 64}
    assert bool(((table["flags"] & fr.FD) != 0).any())


def test_a_real_capture_with_reversals_keeps_all_rows() -> None:
    parsed = parse("can/dataset=set_01/split=train_02_with_attacks/targeted_payload_fuzzing-2.parquet")
    assert (parsed.frames.height, parsed.time_reversals) == (300_936, 56)
