"""The command line against a real SLURM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_kit import Toy, step_of
from toy_pipeline import ToyWorkload, let_go
from waiting import LIMIT_S, wait_until, wait_while

from candor.cli.session import Session
from candor.cli.status import TaskRow, task_rows
from candor.executors import queue_status
from candor.flow.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(tmp_path: Path, slurm: SlurmCluster) -> Toy:
    return Toy(tmp_path / "a röot")


def test_a_plan_runs_as_jobs_and_its_report_comes_out(toy: Toy) -> None:
    done = toy.run()
    assert "21.0" in done.stdout
    assert all(toy.record(t)["outcome"] == "succeeded" for t in ("left", "right", "total", "report"))
    assert all(toy.record(t)["process"]["host"] in ("node1", "node2") for t in ("left", "report"))
    assert toy.record("left")["job"].endswith("_0")


def ours(slurm: SlurmCluster, toy: Toy) -> list[str]:
    """Jobs of this run in the queue."""
    listed = slurm.call("squeue", "-h", "-r", "-o", "%i|%j").splitlines()
    name = json.loads(json.dumps(toy.events("jobs_submitted")))
    mine = {job for event in name for job in event["jobs"].values()}
    return [line.split("|")[0] for line in listed if line.split("|")[0] in mine]


def test_a_plan_that_is_queued_is_joined_and_not_doubled(toy: Toy, slurm: SlurmCluster) -> None:
    first = toy.run("--no-wait", "--json", TOY_HOLD="1")
    toy.wait_for_both()
    shown = {
        t["task"]: t["state"] for t in json.loads(toy("status", toy.folder.name, "--json").stdout)["tasks"]
    }
    assert shown["left"] == "running"
    assert shown["report"] == "queued"
    again = toy.run("--no-wait", "--json")
    before, after = json.loads(first.stdout)["jobs"], json.loads(again.stdout)["jobs"]
    assert set(after.items()) <= set(before.items())
    assert len(toy.events("jobs_submitted")) == 3
    let_go(toy.root)
    assert "21.0" in toy.run().stdout
    assert len(toy.events("jobs_submitted")) == 3
    assert all(
        not (toy.folder / f"tasks/{t}/attempt-2").exists() for t in ("left", "right", "total", "report")
    )


def test_a_submitter_that_died_before_noting_the_job_finds_it_in_the_queue(
    toy: Toy, slurm: SlurmCluster
) -> None:
    toy.run("--no-wait", TOY_HOLD="1")
    journal = toy.folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"jobs_submitted"' not in line))
    jobs = json.loads(toy.run("--no-wait", "--json").stdout)["jobs"]
    assert {e["how"] for e in toy.events("jobs_submitted")} == {"found in the queue"}
    assert len(jobs) == 4
    toy("cancel", toy.folder.name)


def test_what_depends_on_a_failure_is_skipped_and_says_why(toy: Toy, slurm: SlurmCluster) -> None:
    done = toy.run("--json", code=6, TOY_FAIL="total")
    tasks = json.loads(done.stdout)["tasks"]
    assert tasks["total"]["outcome"] == "failed"
    assert tasks["report"] == {"outcome": "skipped", "cause": "total"}
    wait_until(lambda: not ours(slurm, toy), "an empty queue")
    rows = {t["task"]: t for t in json.loads(toy("status", toy.folder.name, "--json").stdout)["tasks"]}
    assert (rows["report"]["state"], rows["report"]["reason"]) == ("skipped", "total failed")
    assert "21.0" in toy.run().stdout


def test_cancel_takes_the_jobs_off_the_queue_and_the_run_resumes_from_its_checkpoint(
    toy: Toy, slurm: SlurmCluster
) -> None:
    toy.run("--no-wait", "--set", "left.steps=8", TOY_HOLD="4")
    toy.wait_for_step(4)  # The other task has three.
    toy("cancel", toy.folder.name)
    wait_until(lambda: not ours(slurm, toy), "an empty queue")
    record = toy.record("left")
    assert record["outcome"] == "interrupted"
    assert "21.0" in toy.run("--set", "left.steps=8").stdout
    assert toy.record("left", 2)["summary"]["resumed_from"] == 4


@pytest.mark.parametrize("requeue", ["true", "false"])
def test_warned_of_the_time_limit_a_task_goes_on_in_the_next_job(
    toy: Toy, slurm: SlurmCluster, requeue: str
) -> None:
    site = ("--site-set", f"requeue={requeue}")
    toy.run("--no-wait", "--set", "left.steps=8", *site, TOY_HOLD="4")
    toy.wait_for_step(4)  # The other task has three.
    with slurm.hurry():
        # What SLURM sends --signal=B:USR1@S before the limit; test_the_real_time_limit waits for it.
        slurm.call("scancel", "--batch", "--signal=USR1", str(toy.record("left")["job"]))
        done = toy.run("--set", "left.steps=8", *site)
    assert "21.0" in done.stdout
    first, second = toy.record("left"), toy.record("left", 2)
    assert (first["outcome"], second["outcome"]) == ("interrupted", "succeeded")
    assert second["summary"]["resumed_from"] == 4
    assert (first["job"] == second["job"]) == (requeue == "true")
    assert toy.record("report")["outcome"] == "succeeded"
    assert not (toy.folder / "tasks/right/attempt-2").exists()


def accounted(slurm: SlurmCluster, job: str, what: str) -> list[str]:
    """A field of every start of a job that SLURM's accounts know of."""
    return slurm.call("sacct", "-n", "-P", "-X", "--duplicates", "-j", job, "-o", what).split()


def held_and_accounted(toy: Toy, slurm: SlurmCluster) -> tuple[str, str]:
    """(job, node) of a task at its fourth step, where it stays, once SLURM's accounts know when it began.

    They never do of a job that ends within a second or two; it is held again at its sixth step.
    """
    toy.run("--no-wait", "--set", "left.steps=8", TOY_HOLD="4,6")
    toy.wait_for_step(4)  # The other task has three.
    record = toy.record("left")
    job = str(record["job"])
    wait_until(lambda: "T" in "".join(accounted(slurm, job, "Start")), "its start in the accounts")
    return job, str(record["process"]["host"])


def goes_on_once_accounted(toy: Toy, slurm: SlurmCluster, job: str, *states: str) -> str:
    """What a run prints whose task, held again at its sixth step, goes on once SLURM's accounts know of its first job's end.

    They hear of it some seconds later, when a task as short as this one may be done.
    """
    with toy.started("--set", "left.steps=8") as waiting:
        # Who waits for the task asks how its earlier jobs ended.
        wait_while(waiting, lambda: any("left" in e["jobs"] for e in toy.events("jobs_joined")), "the queue")
        wait_while(waiting, lambda: step_of(toy) == 6, "the second start")
        wait_until(lambda: set(accounted(slurm, job, "State")) & set(states), f"{states} in the accounts")
        let_go(toy.root)
        said, told = waiting.communicate(timeout=LIMIT_S)
    assert waiting.returncode == 0, told
    return str(said)


@pytest.mark.alone_on_slurm
def test_a_node_that_dies_is_told_from_other_ends_and_its_tasks_go_on(toy: Toy, slurm: SlurmCluster) -> None:
    job, node = held_and_accounted(toy, slurm)
    with slurm.hurry():
        slurm.kill_node(int(node[-1]))
        try:
            said = goes_on_once_accounted(toy, slurm, job, "NODE_FAIL")
        finally:
            slurm.start_node(int(node[-1]))
    assert "21.0" in said
    first = toy.record("left")
    shown = json.loads(toy("status", toy.folder.name, "--json").stdout)["tasks"]
    assert [t["state"] for t in shown] == ["succeeded"] * 4
    assert first["outcome"] == "killed"
    assert first["error"] == "NodeFailure", first


def test_a_task_that_runs_out_of_memory_says_so_and_what_to_ask_for(toy: Toy, slurm: SlurmCluster) -> None:
    site = ("--site-set", "stages.number.memory_gb=0.3")
    done = toy.run("--until", "left", *site, code=6, TOY_EAT_MB="500", TOY_HOLD="1")
    record = toy.record("left")
    assert record["error"] == "OutOfMemory", record["reason"]
    assert "stages.number.memory_gb=1" in str(record["reason"])
    assert "OutOfMemory" in done.stderr or "out of memory" in done.stderr


@pytest.mark.alone_on_slurm
def test_a_task_that_gives_way_to_a_job_of_higher_priority_goes_on_afterwards(
    toy: Toy, slurm: SlurmCluster
) -> None:
    job, _ = held_and_accounted(toy, slurm)
    slurm.call("sbatch", "-p", "urgent", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 6")
    with slurm.hurry():
        said = goes_on_once_accounted(toy, slurm, job, "PREEMPTED", "REQUEUED")
    assert "21.0" in said
    first, second = toy.record("left"), toy.record("left", 2)
    assert first["outcome"] == "interrupted"
    assert first["error"] in ("Preempted", "Requeued"), first
    assert second["summary"]["resumed_from"] == 4


@pytest.fixture
def patient(slurm: SlurmCluster) -> Iterator[None]:
    """A SLURM that declares a silent node down late, as most sites have it (`SlurmdTimeout`: five minutes by default)."""
    slurm.set_timeout(100)
    yield
    slurm.set_timeout(None)


@pytest.mark.alone_on_slurm
def test_a_node_that_dies_in_silence_is_told_by_status_and_its_task_goes_on_elsewhere(
    toy: Toy, slurm: SlurmCluster, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ("--site-set", "silent_min=0.6", "--until", "left", "--set", "left.steps=8")
    toy.run("--no-wait", *site, TOY_HOLD="4")
    toy.wait_for_step(4)
    first = toy.record("left")
    node = str(first["process"]["host"])
    slurm.kill_node(int(node[-1]), told=False)
    try:
        wait_until(lambda: slurm.node_state(node).endswith("*"), "SLURM to miss an answer")
        # SLURM calls the job running still.
        assert slurm.call("squeue", "-h", "-j", str(first["job"]), "-o", "%T").strip() == "RUNNING"
        monkeypatch.setattr(queue_status, "TOLD_S", 20.0)
        # SLURM may miss the node before the job has been silent for so long.
        wait_until(lambda: row_of(toy, "left").state != "running", "another state than running")
        row = row_of(toy, "left")
        assert row.state == "silent"
        assert f"on {node} has not been heard of since" in (row.reason or "")
        assert f"the scheduler says that {node} does not respond" in (row.reason or "")
        assert "the same `candor run`" in (row.reason or "")

        toy.run(*site)
    finally:
        slurm.start_node(int(node[-1]))
    told, second = toy.record("left"), toy.record("left", 2)
    assert (told["outcome"], told["error"]) == ("killed", "Silent")
    assert second["outcome"] == "succeeded"
    assert second["summary"]["resumed_from"] == 4
    assert second["process"]["host"] != node
    (event,) = toy.events("jobs_replaced")
    assert (event["job"], event["by"]) == (first["job"], second["job"])


def row_of(toy: Toy, task: str) -> TaskRow:
    """What `candor status` would show of a task, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANDOR_ROOT", str(toy.root))
        (row,) = [r for r in task_rows(Session(ToyWorkload(), ()), Run(toy.folder)) if r.task == task]
        return row
