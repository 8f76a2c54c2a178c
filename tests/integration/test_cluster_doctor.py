"""The doctor on a real SLURM, here and through a real ssh; and on the same one with a fault put in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import PASS_ENV, Toy
from sshd import Sshd, sshd
from waiting import wait_until

pytestmark = pytest.mark.slow
QUICK = ("--site-set", "poll_s=0.5", "--site-set", "warning_s=50", "--min-free-gb", "0.1", *PASS_ENV)


@pytest.fixture
def toy(tmp_path: Path, slurm: SlurmCluster) -> Toy:
    return Toy(tmp_path / "a röot")


def examined(toy: Toy, *more: str, code: int = 0) -> dict[str, Any]:
    done = toy("cluster", "doctor", "--json", *QUICK, *more, code=code)
    return {c["name"]: c for c in json.loads(done.stdout)["checks"]}


def test_a_cluster_that_works_passes_down_to_a_job_on_a_node(toy: Toy) -> None:
    found = examined(toy, "--skip", "ray")
    assert {n: c["state"] for n, c in found.items()} == {
        "ssh": "skipped",
        "modules": "skipped",
        "environment": "ok",
        "gpus": "skipped",
        "roots": "ok",
        "space": "ok",
        "scheduler": "ok",
        "job": "ok",
        "ray": "skipped",
    }, found
    assert "ran on node" in found["job"]["told"]
    assert not list(toy.root.rglob("*doctor*"))


def test_a_tiny_ray_really_runs_inside_a_job(toy: Toy) -> None:
    pytest.importorskip("ray")
    found = examined(toy, "--skip", "gpus", "--skip", "space", "--site-set", "stages.doctor.memory_gb=2")
    assert found["ray"]["state"] == "ok", found["ray"]


def test_a_request_that_no_partition_grants_fails_before_any_job(toy: Toy, slurm: SlurmCluster) -> None:
    found = examined(toy, "--site-set", "defaults.partition=nowhere", "--skip", "gpus", code=1)
    assert (found["scheduler"]["state"], found["job"]["state"]) == ("failed", "skipped")
    found = examined(toy, "--site-set", "stages.doctor.memory_gb=9999", "--skip", "gpus", code=1)
    assert "would be refused" in found["scheduler"]["told"]


def test_jobs_that_are_taken_and_never_start_fail_and_leave_the_queue(toy: Toy, slurm: SlurmCluster) -> None:
    # Not --begin: another test may be hurrying all jobs that wait for their time.
    held = ("--site-set", "extra=['--hold']")
    found = examined(toy, "--skip", "gpus", "--job-timeout-s", "6", *held, code=1)
    assert found["job"]["state"] == "failed"
    assert "did not start" in found["job"]["told"]
    # Other tests examine the same cluster at the same time.
    wait_until(lambda: "candor.doctor" not in slurm.call("squeue", "-h", "-o", "%j"), "an empty queue")


def test_a_run_root_of_the_login_node_alone_fails(toy: Toy, slurm: SlurmCluster) -> None:
    # Nodes have a /dev/shm of their own.
    root = Path("/dev/shm") / f"candor-doctor-{os.getpid()}"
    try:
        done = subprocess.run(
            toy.argv("cluster", "doctor", "--json", *QUICK, "--skip", "gpus", "--job-timeout-s", "30"),
            env=toy.env(CANDOR_RUN_ROOT=str(root)),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        subprocess.run(["rm", "-rf", root], check=True)
    found = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
    assert (found["job"]["state"], done.returncode) == ("failed", 1), found


def test_the_same_through_ssh_from_another_machine(toy: Toy, slurm: SlurmCluster, tmp_path: Path) -> None:
    seen = {name: os.environ[name] for name in ("PATH", "SLURM_CONF", "PYTHONPATH") if name in os.environ}
    seen |= {"CANDOR_ROOT": str(tmp_path / "there")}
    words = ("--skip", "gpus", "--skip", "ray", "--site-set", f"venv={sys.prefix}")
    with sshd(tmp_path / "sshd", seen) as server:
        found = through(server, toy, "user", *words)
        refused = through(server, toy, "stranger", *words, code=1)
    assert {n for n, c in found.items() if c["state"] == "ok"} == {
        "ssh", "environment", "roots", "space", "scheduler", "job",
    }, found  # fmt: skip
    assert [c["state"] for c in refused.values()] == ["failed"] + ["skipped"] * 8


def through(server: Sshd, toy: Toy, key: str, *more: str, code: int = 0) -> dict[str, Any]:
    return examined(toy, "--host", server.host, "--ssh", server.command(key), *more, code=code)
