"""A job that comes back from a node like this machine, and queues that only seem to run it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from doctor_kit import Fake, chart

from candor.cluster.doctor.jobs import check_job
from candor.cluster.doctor.patient import Chart, Patient


@pytest.mark.parametrize(
    ("sbatch", "squeue", "word"),
    [
        ("echo 'refused' >&2; exit 1", "", "sbatch: refused"),
        ("echo 7", "echo 'queue|PENDING|Resources'", "did not start"),  # Accepted, and never run.
        ("echo 7", "", "left the queue without a result (COMPLETED"),  # Accounts lie; results do not.
        ("echo 7", "echo 'queue|RUNNING|None'", "without a result"),
        (
            "cd $2; for a; do case $a in --chdir=*) echo made-up >${a#*=}/result;; esac; done; echo 7",
            "",
            "left",
        ),
    ],
)
def test_a_queue_that_runs_nothing_fails(
    patient: Patient, slurm_says: Fake, sbatch: str, squeue: str, word: str
) -> None:
    slurm_says("sbatch", sbatch)
    slurm_says("squeue", squeue)
    found = check_job(patient, chart(patient))
    assert (found.state, word in found.told) == ("failed", True), found


def test_a_job_that_leaves_the_queue_as_the_time_is_up_is_not_said_to_wait(
    patient: Patient, slurm_says: Fake
) -> None:
    slurm_says("sbatch", "echo 7")
    slurm_says("squeue", "sleep 0.3")
    found = check_job(dataclasses.replace(patient, job_timeout_s=0.2), chart(patient))
    assert "left the queue without a result (COMPLETED" in found.told, found


#: Runs the script at once, as a node would.
_NODE = 'for a; do case $a in --chdir=*) cd "${a#*=}";; esac; done; echo 7; bash job.sh >job.out 2>&1'


def test_a_job_that_runs_passes_and_its_folder_goes(patient: Patient, slurm_says: Fake) -> None:
    slurm_says("sbatch", _NODE)
    assert check_job(patient, chart(patient)).state == "ok"
    root = Path(dict(patient.roots or {})["run_root"])
    assert list(root.iterdir()) == []


def test_a_node_with_another_environment_fails(patient: Patient, slurm_says: Fake) -> None:
    bare = f"sed -i 's|{sys.executable} -|{sys.executable} -I -S -|' job.sh; bash job.sh"
    slurm_says("sbatch", _NODE.replace("bash job.sh", bare))
    found = check_job(patient, chart(patient))
    assert found.told.startswith("on the node: candor cannot be imported"), found
    assert found.state == "failed"


def test_a_node_that_does_not_share_a_root_fails(patient: Patient, slurm_says: Fake, tmp_path: Path) -> None:
    cache = dict(patient.roots or {})["cache_root"]
    elsewhere = tmp_path / "disk of the node"
    elsewhere.mkdir()
    slurm_says("sbatch", _NODE.replace("bash job.sh", f"sed -i 's|{cache}|{elsewhere}|' job.sh; bash job.sh"))
    found = check_job(patient, chart(patient))
    assert (found.state, found.told.startswith("cache_root: what")) == ("failed", True), found


def test_a_job_that_gets_no_gpu_fails(patient: Patient, slurm_says: Fake) -> None:
    slurm_says("sbatch", _NODE)
    slurm_says("nvidia-smi", "exit 9")
    patient = dataclasses.replace(patient, gpus=1, job_timeout_s=60)
    found = check_job(patient, chart(patient))
    assert (found.state, "1 GPUs were asked for" in found.told) == ("failed", True), found


def test_without_roots_no_job_is_tried_and_it_says_why(patient: Patient) -> None:
    found = check_job(patient, Chart())
    assert (found.state, "roots" in found.told, "--skip environment" in found.todo) == ("failed", True, True)
