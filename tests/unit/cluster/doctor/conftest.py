"""A machine to examine, and ways to break it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

import pytest  # noqa: E402
from doctor_kit import EXPECTED, SINFO, Fake  # noqa: E402

from candor.cluster.doctor.patient import Patient  # noqa: E402
from candor.cluster.shell import LocalShell  # noqa: E402


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    roots = {n: str(tmp_path / "röots" / n) for n in ("data_root", "cache_root", "run_root")}
    return Patient(
        shell=LocalShell(),
        expected=EXPECTED,
        job=lambda roots, body: f"#!/bin/bash\n{body}",
        python=sys.executable,
        roots=roots,
        min_free_gb=0.001,
        job_timeout_s=4,
        poll_s=0.1,
    )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """``fake("sinfo", "echo hello")`` puts a command in front of the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.fixture
def slurm_says(fake: Fake) -> Fake:
    """A SLURM that is well, until a command is replaced."""
    fake("sinfo", SINFO.format(state="idle"))
    fake("squeue", "")
    fake("scancel", "")
    fake("sacct", "echo 'COMPLETED|0:0|node1'")
    fake("sbatch", '[ "$1" = --test-only ] && exit 0; echo 7')
    return fake
