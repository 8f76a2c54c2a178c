"""The intervals that ROAD publishes beside its logs become events, and labels of the frames they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from candor.config.settings import Settings
from candor.errors import DataError
from candor.flow.stage import Inputs, Output
from candor.ids import catalog, registry
from candor.ids.captures import capture_metadata, stream
from candor.ids.captures.ingest import ingest
from candor.ids.config import AttackInterval, IngestConfig

ENTRIES: dict[str, dict[str, Any]] = {
    "fuzz": {"injection_interval": [1.0, 2.0], "injection_id": "XXX", "injection_data_str": "FFFF"},
    "one": {"injection_interval": [1.0, 2.0], "injection_id": "0x6e0", "injection_data_str": "XXf1"},
    "takeover": {"injection_interval": None, "injection_id": None, "elapsed_sec": 9.5, "on_dyno": True},
}


def beside(folder: Path, name: str, entries: object = ENTRIES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / capture_metadata.NAME).write_text(json.dumps(entries))
    return folder / f"{name}.log"


@pytest.mark.parametrize("suffix", [".log", ".log.gz"])
def test_an_entry_says_when_and_which_frames(tmp_path: Path, suffix: str) -> None:
    log = beside(tmp_path, "one").with_name(f"one{suffix}")
    [interval] = capture_metadata.intervals(log, "speed") or ()
    assert interval == AttackInterval(attack="speed", t_start=1, t_end=2, id=0x6E0, payload="XXF1")
    [any_id] = capture_metadata.intervals(beside(tmp_path, "fuzz"), "fuzzing") or ()
    assert (any_id.id, any_id.payload) == (None, "FFFF")


def test_an_entry_without_interval_is_an_attack_from_first_to_last(tmp_path: Path) -> None:
    [interval] = capture_metadata.intervals(beside(tmp_path, "takeover"), "accelerator") or ()
    assert (interval.t_start, interval.t_end, interval.tells_frames) == (0.0, 9.5, False)


def test_nothing_is_said_of_attack_free_unknown_and_lonely_logs(tmp_path: Path) -> None:
    assert capture_metadata.intervals(beside(tmp_path, "one"), "") is None
    assert capture_metadata.intervals(beside(tmp_path, "other"), "speed") is None
    assert capture_metadata.intervals(tmp_path / "alone" / "one.log", "speed") is None


@pytest.mark.parametrize(
    "entries",
    [[1], {"one": {"injection_interval": [1]}}, {"one": {"injection_interval": [1, 2], "injection_id": "?"}}],
)
def test_a_file_that_is_not_as_described_is_said_so(tmp_path: Path, entries: object) -> None:
    with pytest.raises(DataError, match=r"capture_metadata\.json cannot be used"):
        capture_metadata.intervals(beside(tmp_path, "one", entries), "speed")


FRAMES = [(0.0, "6E0", "00F1"), (1.0, "6E0", "07F1"), (1.5, "6E0", "07F2"), (1.6, "123", "00F1")]
FRAMES += [(2.0, "6E0", "99F1"), (2.01, "6E0", "99F1"), (2.5, "123", "FFFF")]
LOG = "".join(f"({1.6e9 + t:.6f}) can0 {i}#{d}\n" for t, i, d in FRAMES)


@pytest.mark.parametrize("block_bytes", [1 << 20, 40])
def test_frames_that_fit_are_labelled_and_all_others_benign(
    make_source, stage_output: Output, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(stream, "_HEAD_BYTES", 40)
    monkeypatch.setattr(stream.batches, "__kwdefaults__", {"block_bytes": block_bytes})
    known = AttackInterval(attack="speed", t_start=1, t_end=2, id=0x6E0, payload="XXF1")
    source = make_source("a.log", LOG, attack="speed", events=(known,))
    ingest(IngestConfig(dataset="road", sources=(source,)), Inputs({}), stage_output)
    table = pl.read_parquet(stage_output.path / "frames" / "a.parquet")
    assert table["label"].to_list() == [0, 1, 0, 0, 1, 0, 0]
    assert table["attack"].to_list() == ["", "speed", "", "", "speed", "", ""]
    assert pl.read_parquet(stage_output.path / "events.parquet").rows() == [("a", "speed", 1.0, 2.0)]


def test_a_download_of_road_keeps_its_intervals_linked_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(catalog.SHARED_DATA_VARIABLE, raising=False)
    name = "max_speedometer_attack_1"
    entry = {"injection_interval": [1.0, 2.0], "injection_id": "0x0D0", "injection_data_str": "XXXXF1"}
    log = beside(tmp_path / "download" / "attacks", name, {name: entry})
    log.write_text(LOG)
    for how in ("link", "copy"):
        settings = Settings(data_root=tmp_path / how, cache_root=tmp_path / "c", run_root=tmp_path / "r")
        preset = catalog.dataset_preset("road", data_root=settings.data_root)
        one = preset.model_copy(update={"captures": tuple(c for c in preset.captures if c.capture == name)})
        registry.add(one, registry.inspect(one, tmp_path / "download"), settings, how)  # type: ignore[arg-type]
        assert (settings.data_root / "road" / "attacks" / capture_metadata.NAME).is_file()
        [source] = catalog.discover(one, settings, env={}, cwd=tmp_path)
        assert source.events is not None
        assert (source.events[0].id, source.events[0].attack) == (0xD0, "max_speedometer")
