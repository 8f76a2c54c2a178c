"""Jobs that SLURM calls running and that give no sign of life."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan

from candor.errors import SchedulerError
from candor.executors import ledger, ray_allocation
from candor.executors.batches import Batch
from candor.executors.cancelling import cancel
from candor.executors.queue import QueueExecutor
from candor.executors.queue_status import silent_word
from candor.executors.resubmit import resubmit
from candor.executors.scheduler import Accounted, Queued
from candor.executors.scripts import job_name
from candor.executors.silence import Silence, Silences, find_silent, last_heard, samples_of
from candor.executors.site import SiteConfig
from candor.executors.slurm_commands import Slurm
from candor.flow.attempt import Attempt, AttemptRecord, next_folder
from candor.flow.plan import Plan
from candor.flow.process import ProcessId
from candor.flow.run import Run


@dataclasses.dataclass(frozen=True)
class Cluster(Slurm):
    """``states`` of its nodes; every submission becomes the next job."""

    states: dict[str, str] = dataclasses.field(default_factory=dict)
    submitted: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    waits: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    cancelled: list[str] = dataclasses.field(default_factory=list)
    queued: list[Queued] = dataclasses.field(default_factory=list)
    asked: list[str] = dataclasses.field(default_factory=list)

    def nodes(self) -> dict[str, str]:
        self.asked.append("nodes")
        return self.states

    def queue(self) -> list[Queued]:
        return self.queued

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        self.submitted.append((script.name, element))
        job = str(100 + len(self.submitted))
        return f"{job}_{element}" if element else job

    def wait_for(self, job: str, dependency: str) -> None:
        self.waits.append((job, dependency))

    def cancel(self, jobs: Sequence[str]) -> None:
        self.cancelled.extend(jobs)

    def accounting(self, jobs: object) -> list[Accounted]:
        return []


NOW = 1_800_000_000.0


def running(job: str = "7", nodes: str = "node1", start: float | None = NOW - 1000) -> Queued:
    return Queued(job, "RUNNING", "None", "", nodes, start)


def beat(logs: Path, job: str, at: float) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    path = samples_of(logs, job)
    path.write_text("cpu 1 2 3\n")
    os.utime(path, (at, at))


def test_a_job_was_last_heard_of_when_its_script_wrote_a_sample(tmp_path: Path) -> None:
    assert last_heard(running(), tmp_path) == NOW - 1000  # None yet: since it began.
    beat(tmp_path, "7", NOW - 30)
    assert last_heard(running(), tmp_path) == NOW - 30
    # Started again: what the first start wrote is no sign of the second.
    assert last_heard(running(start=NOW - 10), tmp_path) == NOW - 10
    assert last_heard(Queued("7", "PENDING", "Priority", ""), tmp_path) is None


def test_slurm_is_asked_after_nodes_only_if_a_job_is_silent(tmp_path: Path) -> None:
    slurm = Cluster(states={"node1": "mixed"})
    beat(tmp_path, "7", NOW - 30)
    assert find_silent([running()], tmp_path, slurm, after_s=60, now=NOW) == {}
    assert slurm.asked == []
    found = find_silent([running()], tmp_path, slurm, after_s=20, now=NOW)
    assert found == {"7": Silence("7", "node1", NOW - 30, "")}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("mixed*", "node1 does not respond"),
        ("down", "node1 is down"),
        ("down*", "node1 is down"),
        ("idle", "node1 is idle"),
        ("idle~", "node1 is idle"),
        ("allocated", ""),
        ("mixed", ""),
        ("draining", ""),
    ],
)
def test_what_slurm_says_of_the_node_bears_it_out_or_not(tmp_path: Path, state: str, word: str) -> None:
    slurm = Cluster(states={"node1": state, "node2": "allocated"})
    found = find_silent([running(nodes="node[1-2]")], tmp_path, slurm, after_s=60, now=NOW)
    assert found["7"].word == word


def test_status_says_which_node_since_when_and_what_to_do() -> None:
    word, why = silent_word(Silence("7_1", "node1", 1795359244, "node1 does not respond"), "run")
    assert word == "silent"
    assert "job 7_1 on node1 has not been heard of since 2026-11-22 14:54:04 UTC" in why
    assert "the scheduler says that node1 does not respond" in why
    assert "the same `candor run`" in why
    assert "`candor cancel run`" in silent_word(Silence("7", "node1", NOW, ""), "run")[1]


@dataclasses.dataclass(frozen=True)
class Half:
    """A run whose first two tasks run as an array on node1, and whose third waits for them."""

    kit: Kit
    plan: Plan
    run: Run
    slurm: Cluster

    def replace(self, after_s: float = 300) -> bool:
        live = {e.job: e for e in self.slurm.queued}
        silences = Silences(self.slurm, self.kit.store, after_s)
        return silences.replace(self.plan, self.run, ledger.jobs_of(self.run), live)

    def began(self, task_id: str, job: str) -> Path:
        """An attempt on a node that is gone."""
        number, path = next_folder(self.run.task_dir(task_id))
        task = self.plan.task(task_id)
        record = AttemptRecord(
            run=self.run.id,
            task=task_id,
            stage=task.stage,
            version=1,
            key=task.key,
            attempt=number,
            config={},
            inputs={},
            code_version="",
            process=ProcessId(host="node1", pid=1, started=""),
            job=job,
            started="2026-11-22T14:00:00+00:00",
        )
        (path / "record.json").write_text(record.model_dump_json())
        return path


@pytest.fixture
def half(kit: Kit) -> Half:
    plan, now = toy_plan(), time.time()
    run = kit.open(plan)
    ledger.note_submitted(run, Batch({0: "left", 1: "right"}), "7")
    ledger.note_submitted(run, Batch({0: "total"}), "8")
    logs = run.path / "slurm"
    beat(logs, "7_0", now - 1000)
    beat(logs, "7_1", now - 5)
    (logs / "left.sh").write_text("case $SLURM_ARRAY_TASK_ID in\n  0) task=left;;\n  1) task=right;;\nesac\n")
    waiting = Queued("8", "PENDING", "Dependency", "")
    queued = [running("7_0", start=now - 2000), running("7_1", start=now - 2000), waiting]
    return Half(kit, plan, run, Cluster(states={"node1": "mixed*"}, queued=queued))


def test_a_silent_job_on_a_node_that_does_not_respond_is_submitted_anew(half: Half) -> None:
    folder = half.began("left", "7_0")
    assert half.replace()
    assert half.slurm.submitted == [("left.sh", "0")]
    assert half.slurm.cancelled == ["7_0"]
    # What waited for the first job waits for the second, and for the element that lives.
    assert half.slurm.waits == [("8", "afterok:101_0:7_1")]
    assert ledger.jobs_of(half.run) == {"left": "101_0", "right": "7_1", "total": "8"}
    record = AttemptRecord.model_validate_json((folder / "record.json").read_text())
    assert (record.outcome, record.error) == ("killed", "Silent")
    assert "goes on as job 101_0" in (record.reason or "")
    (event,) = [e for e in half.run.journal.read() if e["event"] == "jobs_replaced"]
    assert (event["task"], event["job"], event["by"]) == ("left", "7_0", "101_0")


def test_a_job_that_never_began_its_task_is_submitted_anew_too(half: Half) -> None:
    assert half.replace()
    assert half.run.attempts("left") == []
    assert half.slurm.submitted == [("left.sh", "0")]


def test_the_second_job_falls_silent_too(half: Half) -> None:
    half.replace()
    half.slurm.queued[0] = running("101_0", start=time.time() - 1000)
    assert half.replace()
    assert half.slurm.submitted == [("left.sh", "0")] * 2
    assert ledger.jobs_of(half.run)["left"] == "102_0"


@pytest.mark.parametrize("state", ["mixed", "allocated", "draining"])
def test_a_silent_job_on_a_node_that_is_well_is_left_alone(half: Half, state: str) -> None:
    half.slurm.states["node1"] = state
    assert not half.replace()
    assert half.slurm.submitted == []


def test_a_job_that_writes_is_left_alone_though_slurm_cannot_reach_its_node(half: Half) -> None:
    beat(half.run.path / "slurm", "7_0", time.time() - 5)
    assert not half.replace()
    assert not half.slurm.asked


def test_what_is_published_is_not_done_again(half: Half) -> None:
    half.kit.run_task(half.plan, "left")
    assert not half.replace()


def test_zero_replaces_nothing(half: Half) -> None:
    assert not half.replace(after_s=0)


def test_a_script_that_was_written_anew_without_the_task_is_not_submitted(half: Half) -> None:
    (half.run.path / "slurm" / "left.sh").write_text("task=left\n")
    assert not half.replace()
    assert half.slurm.submitted == []


def test_two_who_wait_replace_a_job_once(half: Half) -> None:
    known = dict(ledger.jobs_of(half.run))
    live = {e.job: e for e in half.slurm.queued}
    first, second = (Silences(half.slurm, half.kit.store, 300) for _ in range(2))
    assert first.replace(half.plan, half.run, known, live)
    assert not second.replace(half.plan, half.run, known, live)
    assert len(half.slurm.submitted) == 1


def test_a_silent_allocation_is_replaced_as_a_whole(kit: Kit) -> None:
    plan, todo = toy_plan(), ["left", "right", "total", "report"]
    run = kit.open(plan)

    class Allocation(Cluster):
        def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
            job = super().submit(script, dependency=dependency, element=element)
            self.queued[:] = [running(job, start=time.time())]
            for task in todo if self.asked else []:  # What the second one does.
                kit.run_task(plan, task)
            return job

    slurm = Allocation(states={"node1": "down*"})
    executor = QueueExecutor(kit.store, SiteConfig(poll_s=0.01), {}, scheduler=slurm)
    job, _ = ray_allocation.submit(executor, plan, run, todo, nodes=1)
    slurm.queued[:] = [running(job, start=time.time() - 1000)]
    report = ray_allocation.wait(executor, plan, run, todo, job)
    assert report.ok
    assert slurm.submitted == [("ray.sh", "")] * 2
    assert slurm.cancelled == [job] == ["101"]
    assert set(ledger.jobs_of(run).values()) == {"102"}


def test_who_waits_for_an_allocation_follows_it_to_the_successor_that_it_queued(kit: Kit) -> None:
    plan, todo = toy_plan(), ["left", "right", "total", "report"]
    run = kit.open(plan)
    slurm = Cluster()
    executor = QueueExecutor(kit.store, SiteConfig(poll_s=0.01), {}, scheduler=slurm)
    job, _ = ray_allocation.submit(executor, plan, run, todo, nodes=1)
    fresh = ray_allocation.go_on(run, run.path / "slurm/ray.sh", slurm)
    assert (job, fresh) == ("101", "102")
    assert ledger.jobs_of(run) == dict.fromkeys(["ray", *todo], fresh)
    looks = []

    def queue() -> list[Queued]:
        looks.append(len(looks))
        if len(looks) < 3:
            return [running(fresh, start=time.time())]
        for task in todo:
            kit.run_task(plan, task)
        return []

    object.__setattr__(slurm, "queue", queue)
    assert ray_allocation.wait(executor, plan, run, todo, job).ok
    assert len(looks) >= 3


def test_an_allocation_that_never_gets_done_is_not_queued_for_ever(kit: Kit) -> None:
    plan = toy_plan()
    run, slurm = kit.open(plan), Cluster()
    executor = QueueExecutor(kit.store, SiteConfig(), {}, scheduler=slurm)
    ray_allocation.submit(executor, plan, run, ["left"], nodes=1)
    script = run.path / "slurm/ray.sh"
    ray_allocation.go_on(run, script, slurm, at_most=2)
    ray_allocation.go_on(run, script, slurm, at_most=2)
    with pytest.raises(SchedulerError, match="not finished after 2") as refused:
        ray_allocation.go_on(run, script, slurm, at_most=2)
    assert "stages.ray.time_limit_min" in str(refused.value)
    # A person submits it again: that is a new beginning.
    slurm.queued.clear()
    ray_allocation.submit(executor, plan, run, ["left"], nodes=1)
    ray_allocation.go_on(run, script, slurm, at_most=2)


def test_a_task_is_handed_on_as_often_as_the_site_says_and_anew_once_a_person_submits_it(kit: Kit) -> None:
    plan = toy_plan()
    run, slurm = kit.open(plan), Cluster()
    script = run.path / "slurm/left.sh"
    script.parent.mkdir(parents=True)
    script.touch()
    for _ in range(2):
        ledger.note_submitted(run, Batch({0: "left"}), "1")
        resubmit(plan, run, "left", script, slurm, at_most=2)
        resubmit(plan, run, "left", script, slurm, at_most=2)
        with pytest.raises(SchedulerError, match=r"not finished after 2 .*") as refused:
            resubmit(plan, run, "left", script, slurm, at_most=2)
        assert "stages.number.time_limit_min" in str(refused.value)


def test_a_job_of_the_same_number_that_does_something_else_is_not_the_runs(kit: Kit) -> None:
    plan = toy_plan()
    run, slurm = kit.open(plan), Cluster()
    ledger.note_submitted(run, Batch({0: "left"}), "7")
    name = job_name(run.path, "left")
    for there, mine in ((name, True), ("candor.other-1234.left.abcdef", False), ("bash", False)):
        slurm.queued[:] = [dataclasses.replace(running("7"), name=there)]
        assert (cancel(run, slurm) == {"left": "7"}) == mine
    assert slurm.cancelled == ["7"]


def test_what_another_run_published_before_an_allocation_looked_counts_as_done(kit: Kit) -> None:
    plan, other = toy_plan(), toy_plan(report__title="Other")
    run = kit.open(plan)
    for task in ("left", "right", "total"):
        kit.run_task(other, task)
    executor = QueueExecutor(kit.store, SiteConfig(poll_s=0.01), {}, scheduler=Cluster())
    job, _ = ray_allocation.submit(executor, plan, run, ["total", "report"], nodes=1)
    kit.run_task(plan, "report")  # All that the allocation found undone.
    report = ray_allocation.wait(executor, plan, run, ["total", "report"], job)
    told = {name: a.record.outcome for name, a in report.results.items() if isinstance(a, Attempt)}
    assert told == {"total": "cached", "report": "succeeded"}
