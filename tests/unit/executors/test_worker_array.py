"""The workers of a study as an array: its script, and one array at a time."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from candor.errors import ConfigError
from candor.executors.sbatch import SBATCH
from candor.executors.scheduler import Queued
from candor.executors.scripts import ScriptContext, job_name
from candor.executors.silence import samples_of
from candor.executors.site import Request, SiteConfig
from candor.executors.slurm_commands import Slurm
from candor.executors.worker_array import HEAD, WorkerArray, given_up, is_given_up, render


@dataclasses.dataclass(frozen=True)
class Queue(Slurm):
    """A queue that keeps what it is given."""

    jobs: list[Queued] = dataclasses.field(default_factory=list)
    cancelled: list[str] = dataclasses.field(default_factory=list)

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        text = script.read_text()
        name = next(li for li in text.splitlines() if "--job-name=" in li).partition("=")[2]
        job = str(len(self.jobs) + 7)
        self.jobs.append(Queued(f"{job}_0", "PENDING", "", name))
        return job

    def queue(self) -> list[Queued]:
        return self.jobs

    def cancel(self, jobs: list[str]) -> None:  # type: ignore[override]
        self.cancelled.extend(jobs)


def context(study: Path) -> ScriptContext:
    return ScriptContext(study, study / "study.json", study / "slurm", {"CANDOR_RUN_ROOT": "/r"})


def array(tmp_path: Path, name: str = "gat-kd", site: SiteConfig | None = None) -> WorkerArray:
    return WorkerArray(context(tmp_path / name), site or SiteConfig(), Request(gpus=1, cpus=4), Queue())


def test_each_element_is_a_worker_of_its_own_number(tmp_path: Path) -> None:
    text = array(tmp_path).text(8)
    assert "#SBATCH --array=0,1,2,3,4,5,6,7%20\n" in text
    assert "#SBATCH --gpus-per-node=1\n" in text
    assert "study=gat-kd\n" in text
    assert 'tune-worker "$study" --worker "$SLURM_ARRAY_TASK_ID"' in text


def test_a_single_worker_is_an_array_too(tmp_path: Path) -> None:
    assert "#SBATCH --array=0%20\n" in array(tmp_path).text(1)


@pytest.mark.parametrize("requeue", [True, False])
def test_the_script_is_valid_shell_and_goes_to_the_queue_again(tmp_path: Path, requeue: bool) -> None:
    odd = context(tmp_path / "a röot 'x'" / "gat")
    text = render(
        odd, SiteConfig(requeue=requeue, modules=("python/3.12",)), Request(), workers=3, words=SBATCH
    )
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("scontrol requeue" in text) == requeue
    # Where the site refuses to requeue, as the preset says or as the command finds out.
    assert 'sbatch --array="$SLURM_ARRAY_TASK_ID"' in text


def test_an_array_that_is_queued_is_joined_and_another_study_is_not(tmp_path: Path) -> None:
    first = array(tmp_path)
    assert first.submit(4) == ("7", True)
    assert first.submit(4) == ("7", False)
    other = dataclasses.replace(array(tmp_path, "vgae-kd"), scheduler=first.scheduler)
    assert other.submit(2) == ("8", True)
    assert [e.name for e in first.live()] == [job_name(tmp_path / "gat-kd", HEAD)]
    first.cancel()
    assert isinstance(first.scheduler, Queue)
    assert first.scheduler.cancelled == ["7_0"]
    assert (first.cancelled(), other.cancelled()) == ({"7"}, set())


def test_what_an_array_left_undone_is_free_once_the_queue_has_none_of_its_workers(tmp_path: Path) -> None:
    workers = array(tmp_path)
    assert isinstance(workers.scheduler, Queue)
    study, queue = workers.context.run, workers.scheduler.jobs
    workers.submit(2)
    workers.submit(2)  # Joined: its workers live.
    assert given_up(study) == set()
    queue[:] = [dataclasses.replace(queue[0], name="another", job="x")]
    assert workers.submit(1) == ("8", True)
    gone = given_up(study)
    assert [is_given_up(job, gone) for job in ("7_0", "7_1", "7", "8_0", "77_0")] == [True] * 3 + [False] * 2
    assert [e.job for e in workers.live()] == ["8_0"]


def test_what_a_workers_successor_left_undone_is_free_too(tmp_path: Path) -> None:
    """The job that a worker queued near its time limit was submitted by nobody who notes it."""
    workers = array(tmp_path)
    assert isinstance(workers.scheduler, Queue)
    study, logs = workers.context.run, workers.context.logs
    workers.submit(2)
    for job in ("7_0", "31_0", "32"):  # SLURM's successor is an array of one, PBS's a single job.
        samples_of(logs, job).touch()
    workers.scheduler.jobs[:] = [Queued("x", "RUNNING", "", "another")]
    workers.submit(1)
    assert all(is_given_up(job, given_up(study)) for job in ("7_1", "31_0", "32"))


def test_a_worker_that_never_gets_done_is_not_queued_for_ever(tmp_path: Path) -> None:
    """Where the site does not requeue, each job is a first one to the scheduler."""
    workers = array(tmp_path, site=SiteConfig(requeue=False, max_requeues=2))
    assert isinstance(workers.scheduler, Queue)
    workers.submit(2)
    end = workers.script.read_text().partition('kill "$sampler" 2>/dev/null\n')[2]
    assert "fi\n" in end
    stand_in = f"logs={shlex.quote(str(workers.context.logs))} warned=1 rc=130 SLURM_ARRAY_TASK_ID=1 CANDOR_JOB=7_1\n"
    shell = ["bash", "-c", f"{stand_in}sbatch() {{ echo queued; }}\n{end}"]

    def ends() -> list[str]:
        done = subprocess.run(shell, capture_output=True, text=True, check=False)
        assert done.returncode == 130
        return (done.stdout + done.stderr).splitlines()

    said = [ends() for _ in range(3)]
    assert said == [["queued"], ["queued"], ["candor: stopped after 2 continuations"]]
    workers.scheduler.jobs.clear()
    workers.submit(2)  # A person types the command again.
    assert ends() == ["queued"]


def test_a_job_is_not_taken_for_one_of_the_same_number_that_another_cluster_had(tmp_path: Path) -> None:
    workers = array(tmp_path)
    assert isinstance(workers.scheduler, Queue)
    workers.submit(1)
    workers.scheduler.jobs.clear()
    assert workers.submit(1) == ("7", True)
    assert given_up(workers.context.run) == set()


def test_the_last_words_of_workers_are_found(tmp_path: Path) -> None:
    workers = array(tmp_path)
    logs = workers.context.logs
    logs.mkdir(parents=True)
    (logs / "tune-7_0.out").write_text("loading\nno space left\n\n")
    (logs / "tune-7_1.out").write_text("")
    (logs / "tune-71_0.out").write_text("another\n")
    assert workers.last_words("7") == "tune-7_0.out: no space left"


def test_a_name_that_would_smuggle_in_a_directive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a job"):
        array(tmp_path, "a b\n#SBATCH --account=other").text(1)


def test_a_script_with_a_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "s3cr3t-value")
    with pytest.raises(ConfigError, match="MY_API_KEY"):
        array(tmp_path, site=SiteConfig(setup=("login s3cr3t-value",))).text(1)


@pytest.mark.parametrize(("state", "gone"), [("mixed*", True), ("down", True), ("mixed", False)])
def test_a_worker_not_heard_of_on_a_node_that_is_not_well_is_given_up(
    tmp_path: Path, state: str, gone: bool
) -> None:
    class Nodes(Queue):
        def nodes(self) -> dict[str, str]:
            return {"node1": state, "node2": "mixed"}

    long_ago, name = time.time() - 1000, job_name(tmp_path / "gat-kd", HEAD)
    jobs = [Queued(f"7_{n}", "RUNNING", "None", name, f"node{n + 1}", long_ago) for n in (0, 1)]
    slurm = Nodes(jobs=jobs)
    workers = dataclasses.replace(array(tmp_path), scheduler=slurm)
    workers.context.logs.mkdir(parents=True)
    samples_of(workers.context.logs, "7_1").write_text("cpu 1 2 3\n")
    assert [s.job for s in workers.give_up_silent()] == (["7_0"] if gone else [])
    assert slurm.cancelled == (["7_0"] if gone else [])
    # Its trial is free though SLURM calls the job running, and nobody waits for it.
    assert given_up(workers.context.run) == ({"7_0"} if gone else set())
    assert [e.job for e in workers.live()] == (["7_1"] if gone else ["7_0", "7_1"])
    assert workers.give_up_silent() == []
