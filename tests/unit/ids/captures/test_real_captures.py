"""Facts of published captures, checked where the shared pack is at hand (it may not be redistributed)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.ids.captures import files, formats, rows, stream
from candor.ids.captures import frames as fr
from candor.ids.captures.absence import Heard, find, measure
from candor.ids.config import Absence

PACK = Path(os.environ.get("CANDOR_SHARED_DATA") or Path(__file__).parents[5] / "shared" / "data")

REQUIRED = bool(os.environ.get("CANDOR_REQUIRE_ALL"))

pytestmark = pytest.mark.skipif(not REQUIRED and not (PACK / "raw").is_dir(), reason="no shared data pack")


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


CROSS = ("asc", "csv", "log", "pcap", "trc")


def micros(table: pl.DataFrame) -> list[int]:
    """Since the first frame."""
    return ((table["timestamp"] - table["timestamp"][0]) * 1e6).round().cast(pl.Int64).to_list()


def test_the_same_recording_in_five_formats_is_the_same_frames() -> None:
    """164 frames. python-can reads 163 of the ASC: it drops the first line after a header of two lines.

    Times agree to the microsecond from the first frame on; the TRC's writer dated it a day early. The ASC has FD frames
    as classic ones: there, only a length over eight tells them, so their FD and BRS flags are not in the file.
    """
    tables = {suffix: parse(f"raw/cross_format_equivalent/multiple_CAN.{suffix}").frames for suffix in CROSS}
    log = tables["log"]
    assert log.height == 164
    for suffix, table in tables.items():
        assert table.select("id", "data", "dlc").equals(log.select("id", "data", "dlc")), suffix
        assert micros(table) == micros(log), suffix
        lost = fr.FD | fr.BRS if suffix == "asc" else 0
        assert (table["flags"] & ~lost & 63).to_list() == (log["flags"] & ~lost & 63).to_list(), suffix
        if suffix != "trc":
            assert table["timestamp"].to_list() == log["timestamp"].to_list(), suffix
    assert int(tables["trc"]["timestamp"][0]) == int(log["timestamp"][0]) - 86_400
    told = (tables["asc"]["flags"] & fr.FD) != 0
    assert told.to_list() == (log["dlc"] > 8).to_list()


@pytest.mark.parametrize(
    "name", ["vector_blf/allen_test.blf", "vector_blf/qqj_test.blf", "peak_trc/kona_keyon.trc.gz"]
)
def test_frames_are_those_python_can_reads_where_it_reads_right(name: str) -> None:
    can = pytest.importorskip("can")
    table = parse(f"raw/{name}").frames
    messages = list(can.LogReader(PACK / "raw" / name))
    assert table["id"].to_list() == [m.arbitration_id for m in messages]
    assert table["data"].to_list() == [bytes(m.data) for m in messages]
    assert table["timestamp"].to_list() == pytest.approx([m.timestamp for m in messages], abs=1e-6)
    assert ((table["flags"] & fr.ERROR) != 0).to_list() == [m.is_error_frame for m in messages]


def test_the_attack_of_a_labelled_candump_is_labelled() -> None:
    frames = parse("raw/candump_log_labelled/crysys_S-1-1-malicious-CONST-0x410.log.gz").frames
    attacked = frames.filter(pl.col("label") == 1)
    assert (attacked.height, attacked["id"].unique().to_list()) == (60, [0x410])


def test_the_candump_and_the_text_of_one_crysys_drive_are_the_same_frames() -> None:
    text = parse("raw/crysys_space_csv/crysys_S-1-1-orig.csv.gz").frames
    log = parse("raw/candump_log_labelled/crysys_S-1-1-benign.log.gz").frames
    assert text.select("id", "data", "dlc", "flags").equals(log.select("id", "data", "dlc", "flags"))


@pytest.mark.parametrize(
    ("path", "frames", "attacks"),
    [
        ("can/dataset=j1939_attack/split=labelled/TSC1.parquet", 21_568, 923),
        ("can/dataset=j1939_attack/split=labelled/address_claim.parquet", 15_723, 2),
        ("can/dataset=road_statgraph/split=masquerade/correlated_signal_attack_1.parquet", 73_211, 2_071),
        ("can/dataset=ciciov2024/split=all/decimal_DoS.parquet", 74_663, 74_663),
    ],
)
def test_labelled_sets_are_read_whole(path: str, frames: int, attacks: int) -> None:
    parsed = parse(path)
    assert (parsed.frames.height, int(parsed.frames["label"].sum())) == (frames, attacks)
    assert parsed.quarantined.is_empty()


def heard(relative: str) -> Heard:
    table = pl.read_parquet(PACK / "can" / f"{relative}.parquet", columns=["timestamp", "id"])
    t = table["timestamp"].to_numpy()
    return Heard(np.maximum.accumulate(t - t[0]), table["id"].to_numpy().astype(np.int64))


def test_absence_finds_nothing_in_an_attack_free_drive_and_every_id_taken_out_of_one() -> None:
    folder = "dataset=set_01/split=train_01_attack_free"
    first, second = heard(f"{folder}/accessory-1"), heard(f"{folder}/accessory-2")
    rule = measure([first], Absence())
    assert len(rule.longest_s) == 51
    assert find(second, rule, name="c", attack="suppress", gap_s=1.0).table.is_empty()
    for key, at_s in zip(sorted(rule.longest_s)[::10], (20.0, 40.0, 60.0, 80.0, 100.0, 120.0), strict=True):
        length_s = 3 * rule.allowed_s(key)
        gone = (second.key_n == key) & (second.t_n >= at_s) & (second.t_n < at_s + length_s)
        found = find(
            Heard(second.t_n[~gone], second.key_n[~gone]), rule, name="c", attack="suppress", gap_s=1.0
        )
        assert list(found.silent) == [key]
        ((_, _, start, end),) = found.table.rows()
        slack = 2 * rule.median_s[key]
        assert abs(start - at_s) <= slack
        assert abs(end - at_s - length_s) <= slack
