"""``candor logs -f`` from the submitting machine, while a job of a real SLURM waits, runs, ends or is gone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import Toy
from waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow
HELD = ("--site-set", 'extra=["--hold"]')


@pytest.fixture
def toy(tmp_path: Path, slurm: SlurmCluster) -> Toy:
    return Toy(tmp_path / "a röot")


class Follower:
    """``candor logs TASK -f`` in a process of its own, its output in a file."""

    def __init__(self, toy: Toy, task: str) -> None:
        self.path = toy.root / "followed.txt"
        with self.path.open("w") as out:
            self.process = subprocess.Popen(
                toy.argv("logs", task, "-f"), env=toy.env(), stdout=out, stderr=subprocess.STDOUT
            )

    def told(self) -> str:
        return self.path.read_text()

    def ended(self) -> str:
        assert self.process.wait(timeout=LIMIT_S) == 0, self.told()
        return self.told()


def job_of(toy: Toy, task: str) -> str:
    return str(toy.events("jobs_submitted")[-1]["jobs"][task])


def test_a_queued_job_is_waited_for_and_its_log_followed_to_the_end(toy: Toy, slurm: SlurmCluster) -> None:
    toy.run("--no-wait", "--until", "left", *HELD, TOY_WAIT_S="0.5")
    job = job_of(toy, "left")
    follower = Follower(toy, "left")
    wait_until(
        lambda: f"left is queued: job {job}, waits: JobHeldUser" in follower.told(), "the queue's word"
    )
    assert follower.process.poll() is None
    slurm.call("scontrol", "release", job)
    told = follower.ended()
    assert "starting at step 0" in told
    assert told.rstrip().endswith("succeeded")


def test_a_job_that_was_cancelled_before_it_began_is_no_riddle(toy: Toy, slurm: SlurmCluster) -> None:
    toy.run("--no-wait", "--until", "left", *HELD)
    job = job_of(toy, "left")
    follower = Follower(toy, "left")
    wait_until(lambda: "left is queued" in follower.told(), "the queue's word")
    slurm.call("scancel", job)
    assert f"interrupted: job {job} was cancelled" in follower.ended()
    assert toy.record("left")["error"] == "Cancelled"


def test_a_job_whose_processes_are_gone_ends_the_following_and_says_so(toy: Toy, slurm: SlurmCluster) -> None:
    toy.run("--no-wait", "--until", "left", TOY_HOLD="1")
    follower = Follower(toy, "left")
    wait_until(lambda: "starting at step 0" in follower.told(), "the first line")
    slurm.kill(f"task run {toy.folder}/plan.json left")
    told = follower.ended()
    assert "killed: job" in told, told
