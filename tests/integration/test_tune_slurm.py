"""A study whose workers are an array of a real SLURM."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from kd_run import TINY, Candor
from slurm_cluster import SlurmCluster
from slurm_kit import wait_until

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow
SETS = [part for value in TINY if "teacher" not in value for part in ("--set", value)]
PASSED = json.dumps(["HOME", "USER", "PATH", "LANG", "PYTHONPATH"])
SITE = (
    "--site-set",
    "poll_s=0.5",
    "--site-set",
    f"pass_env={PASSED}",
    "--site-set",
    "defaults.memory_gb=1.8",
)


@pytest.mark.timeout(560)
def test_a_study_runs_as_an_array_is_joined_and_survives_a_worker(
    tmp_path: Path, slurm: SlurmCluster
) -> None:
    candor = Candor(tmp_path / "tune")
    command = ["tune", "gat", "-d", "synthetic", *SETS, "--prune", "none", "--trials", "4", "--json",
               "--on", "slurm", "--max-concurrent", "2", *SITE]  # fmt: skip
    study = candor.root / "studies/gat-kd-synthetic"

    def submitted() -> list[str]:
        listed = slurm.call("squeue", "-h", "-r", "-o", "%i|%j").splitlines()
        return sorted(line.split("|")[0] for line in listed if "|candor.gat-kd-synthetic.tune." in line)

    first = candor(*command, "--no-wait")
    assert json.loads(first.stdout)["outcome"] == "queued"
    jobs = submitted()
    assert [job.partition("_")[2] for job in jobs] == ["0", "1"]
    again = candor(*command, "--no-wait")
    assert "Joined job" in again.stderr
    assert submitted() == jobs

    # A worker dies within its trial, without a word, on a node of its own.
    wait_until(lambda: len(list(study.glob("trials/*.json"))) >= 2, "two trials under way", 300)
    os.kill(slurm.processes("tune-worker gat-kd-synthetic --worker 0")[-1], signal.SIGKILL)

    told = json.loads(candor(*command).stdout)
    assert [t["state"] for t in told["all"]] == ["complete"] * 4
    assert told["best"]["value"] == min(t["value"] for t in told["all"])
    assert len({t["run"] for t in told["all"]}) == 4
    hosts = {
        json.loads(p.read_text())["process"]["host"]
        for p in candor.root.glob("runs/*/tasks/curriculum.student.s1/attempt-*/record.json")
    }
    assert hosts <= {"node1", "node2"}
    assert submitted() == []
    assert (study / "best.yaml").is_file()
