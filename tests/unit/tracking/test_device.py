"""How busy the GPU was, beside the metrics of an epoch."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from candor.tracking.device import DeviceRecorder, parse_sample


def test_a_sample_is_shares_and_gigabytes_over_all_cards() -> None:
    told = parse_sample("80, 1000, 4000\n40, 3000, 4000\n")
    assert told == pytest.approx({"gpu_use": 0.6, "gpu_memory_gb": 2.097152, "gpu_memory_share": 0.5})


@pytest.mark.parametrize("text", ["", "No devices were found\n", "[N/A], 3, 4\n"])
def test_no_sample_without_numbers(text: str) -> None:
    assert parse_sample(text) == {}


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``nvidia-smi`` that answers as the real one does: there is no card here."""
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '50, 1000, 2000'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tool


def test_an_epoch_row_gets_a_device_row_beside_it(tmp_path: Path, smi: Path) -> None:
    recorder = DeviceRecorder(tmp_path, "task", every_s=0.01)
    device: list[dict[str, Any]] = []
    epochs = itertools.count()

    def a_device_row() -> bool:
        recorder.log(next(epochs), {"loss": 1.0})
        device[:] = [r for r in recorder.rows() if r["kind"] == "device"]
        return bool(device)

    wait_until(a_device_row, "a device row")
    assert device[0]["metrics"]["gpu_use"] == 0.5
    recorder.rewind(0)
    assert list(recorder.rows()) == []


def test_without_a_card_it_is_a_plain_recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recorder = DeviceRecorder(tmp_path, "task", every_s=0.01)
    recorder.log(0, {"loss": 1.0})
    assert [r["kind"] for r in recorder.rows()] == ["epoch"]
