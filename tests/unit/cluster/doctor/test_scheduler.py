"""A scheduler that would take a job, and some in trouble."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from doctor_kit import SINFO, Fake, chart

from candor.cluster.doctor.patient import Patient
from candor.cluster.doctor.scheduler import check_scheduler


def test_a_scheduler_that_would_take_a_job_passes(patient: Patient, slurm_says: Fake):
    assert check_scheduler(patient, chart(patient)).state == "ok"


def test_no_scheduler_fails(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "few").mkdir()
    for name in ("bash", "id"):
        (tmp_path / "few" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "few"))
    assert "no command 'sinfo'" in check_scheduler(patient, chart(patient)).told


@pytest.mark.parametrize(
    ("command", "script", "word"),
    [
        ("sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1", "does not answer"),
        ("squeue", "echo 'Zero Bytes' >&2; exit 1", "does not answer"),
        ("sinfo", SINFO.format(state="down*"), "no node is up"),
        ("sinfo", SINFO.format(state="idle*"), "no node is up"),
        ("sinfo", "echo 'debug|inact|idle|node1'", "no node is up"),
        ("sinfo", "true", "no partition"),
        ("sbatch", "echo 'Invalid account' >&2; exit 1", "Invalid account"),
    ],
)
def test_a_scheduler_in_trouble_fails(
    patient: Patient, slurm_says: Fake, command: str, script: str, word: str
) -> None:
    slurm_says(command, script)
    found = check_scheduler(patient, chart(patient))
    assert (found.state, word in found.told) == ("failed", True), found


def test_a_partition_that_is_not_there_fails(patient: Patient, slurm_says: Fake):
    found = check_scheduler(dataclasses.replace(patient, partition="gpu"), chart(patient))
    assert (found.told, found.todo) == ("no partition called 'gpu'", "Partitions: debug.")
