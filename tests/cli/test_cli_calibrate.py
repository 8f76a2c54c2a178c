from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from candor.cli.main import build_app
from candor.cli.session import Session
from candor.cli.workload import IdsWorkload
from candor.errors import SchemaMismatch
from candor.ids.graphs.profile import Profile


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten seconds of a candump: 0x100 every 10 ms, 0x200 every 20 ms; 0x000 floods from 2 s to 4 s."""
    rows = [(k * 0.01, "100#0011") for k in range(1000)]
    rows += [(k * 0.02 + 0.001, "200#AA") for k in range(500)]
    rows += [(2 + k * 0.001, "000#0000") for k in range(2000)]
    text = "".join(f"({1600000000 + t:.6f}) can0 {frame}\n" for t, frame in sorted(rows))
    path = tmp_path / "drive.log"
    path.write_text(text)
    return path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(build_app(), list(arguments), obj=Session(IdsWorkload()))
    return done.exit_code, done.output


def test_the_first_seconds_of_a_log_become_a_profile_without_the_flood(log: Path, tmp_path: Path) -> None:
    code, said = run(
        "calibrate", str(log), "--out", str(tmp_path / "car.parquet"), "--seconds", "8", "--json"
    )
    assert code == 0, said
    told = json.loads(said)
    assert told["ids"] == 2
    assert told["set_aside_s"] == pytest.approx(2.0, abs=1.0)
    profile = Profile.load(tmp_path, "car")
    assert profile.key_P.tolist() == [0x100, 0x200]
    np.testing.assert_allclose(profile.median_interval_s_P, [0.01, 0.02], rtol=1e-3)
    assert profile.kind == "stream"


def test_a_whole_recording_is_taken_as_attack_free(log: Path, tmp_path: Path) -> None:
    code, said = run("calibrate", str(log), "-o", str(tmp_path / "car"), "--vehicle", "kia")
    assert code == 0
    assert "3 IDs, 3,500 frames" in said
    profile = Profile.load(tmp_path, "car")
    assert (profile.kind, profile.vehicle) == ("attack_free", "kia")


def test_a_profile_of_another_version_is_refused(log: Path, tmp_path: Path) -> None:
    run("calibrate", str(log), "-o", str(tmp_path / "car"))
    meta = json.loads((tmp_path / "car.json").read_text())
    (tmp_path / "car.json").write_text(json.dumps({k: v for k, v in meta.items() if k != "version"}))
    with pytest.raises(SchemaMismatch, match="version 1"):
        Profile.load(tmp_path, "car")


def test_a_folder_of_several_recordings_is_refused(log: Path, tmp_path: Path) -> None:
    (tmp_path / "other.log").write_text(log.read_text())
    code, _ = run("calibrate", str(tmp_path), "-o", str(tmp_path / "car"))
    assert code == 2
