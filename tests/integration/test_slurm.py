"""The command line against a real SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from toy_pipeline import SCRIPT

pytestmark = pytest.mark.slow
FAST = ("--on", "slurm", "--site-set", "poll_s=0.5", "--site-set", "warning_s=50")
PASSED = '["HOME", "USER", "PATH", "LANG", "PYTHONPATH", "TOY_FAIL", "TOY_WAIT_S", "TOY_GATE"]'


@dataclass
class Toy:
    """``candor`` over the toy pipeline with its roots below ``root``."""

    root: Path

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, str(SCRIPT), *args]

    def env(self, **more: str) -> dict[str, str]:
        return {**os.environ, "CANDOR_ROOT": str(self.root), "COLUMNS": "200", **more}

    def __call__(self, *args: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*args), env=self.env(**more), capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *args: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        passed = ("--site-set", f"pass_env={PASSED}")
        return self("run", "toy", "-d", "small", *FAST, *passed, *args, code=code, **more)

    @property
    def folder(self) -> Path:
        (found,) = (self.root / "runs").iterdir()
        return found

    def events(self, name: str) -> list[dict[str, object]]:
        lines = (self.folder / "journal.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["event"] == name]

    def record(self, task: str, attempt: int = 1) -> dict[str, object]:
        found = json.loads((self.folder / "tasks" / task / f"attempt-{attempt}" / "record.json").read_text())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def toy(tmp_path: Path, slurm: SlurmCluster) -> Toy:
    return Toy(tmp_path / "a röot")


def test_a_plan_runs_as_jobs_and_its_report_comes_out(toy: Toy) -> None:
    done = toy.run()
    assert "21.0" in done.stdout
    assert all(toy.record(t)["outcome"] == "succeeded" for t in ("left", "right", "total", "report"))
    assert all(toy.record(t)["process"]["host"] in ("node1", "node2") for t in ("left", "report"))  # type: ignore[index]
    assert toy.record("left")["job"].endswith("_0")  # type: ignore[attr-defined]
