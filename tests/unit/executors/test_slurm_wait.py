"""Waiting for jobs of a SLURM that says what is not so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan

from candor.executors import ledger, stuck
from candor.executors.base import JobResult, execute
from candor.executors.batches import Batch
from candor.executors.cancelling import cancel
from candor.executors.queue import QueueExecutor
from candor.executors.scheduler import Accounted, Queued
from candor.executors.site import SiteConfig
from candor.executors.slurm_commands import Slurm
from candor.flow.attempt import Attempt
from candor.flow.plan import Plan


@dataclasses.dataclass(frozen=True)
class Zombies(Slurm):
    """Every job that was submitted stays in the queue for ever, as ``state``; asked for it, ``then`` happens."""

    then: Callable[[], None] = lambda: None
    state: str = "RUNNING"
    names: list[str] = dataclasses.field(default_factory=list)
    freed: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    cancelled: list[str] = dataclasses.field(default_factory=list)

    def submit(self, script: Path, *, dependency: str = "", element: str = "") -> str:
        self.names.append(dependency)
        return str(len(self.names))

    def queue(self) -> list[Queued]:
        if self.names:
            self.then()
        jobs = [(str(n), bool(waits)) for n, waits in enumerate(self.names, 1)]
        # An array of two has elements 0 and 1.
        ids = [(f"{job}{part}", waits) for job, waits in jobs for part in ("", "_0", "_1")]
        free = {job for job, _ in self.freed}
        return [
            Queued(job, "PENDING", "Dependency", "")
            if waits and job not in free
            else Queued(job, self.state, "None", "")
            for job, waits in ids
        ]

    def accounting(self, jobs: object) -> list[Accounted]:
        return []

    def cancel(self, jobs: Sequence[str]) -> None:
        self.cancelled.extend(jobs)

    def wait_for(self, job: str, dependency: str) -> None:
        self.freed.append((job, dependency))


def run(kit: Kit, plan: Plan, queue: Zombies) -> dict[str, JobResult]:
    executor = QueueExecutor(kit.store, SiteConfig(poll_s=0.01), {}, scheduler=queue)
    return execute(executor, plan, kit.open(plan), [t.id for t in plan.tasks]).results


def test_what_is_published_is_done_though_slurm_calls_its_job_running(kit: Kit) -> None:
    plan = toy_plan()
    waiting = iter(["left", "right", "total", "report"])

    def next_task() -> None:
        task = next(waiting, None)
        if task is not None:
            kit.run_task(plan, task)

    results = run(kit, plan, Zombies(then=next_task))
    assert [r.ok for r in results.values() if isinstance(r, Attempt)] == [True] * 4


def test_a_failure_on_record_is_one_though_slurm_calls_its_job_running(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan()
    monkeypatch.setenv("TOY_FAIL", "number")
    monkeypatch.setenv("CANDOR_JOB", "1_0")

    def fail() -> None:
        if not kit.open(plan).attempts("left"):
            kit.run_task(plan, "left")
            monkeypatch.setenv("CANDOR_JOB", "1_1")
            kit.run_task(plan, "right")

    first = Zombies(then=fail)
    results = run(kit, plan, first)
    assert [type(r).__name__ for r in results.values()] == ["Attempt", "Attempt", "Skipped", "Skipped"]

    # The next run does not join the jobs that failed, though they are in the queue still.
    monkeypatch.delenv("TOY_FAIL")
    again = dataclasses.replace(first, then=lambda: None)

    def go_on() -> None:
        for task in ("left", "right", "total", "report"):
            if len(again.names) == 6 and not any(a.ok for a in kit.open(plan).attempts(task)):
                kit.run_task(plan, task)

    results = run(kit, plan, dataclasses.replace(again, then=go_on))
    assert [a.ok for a in results.values() if isinstance(a, Attempt)] == [True] * 4
    assert set(ledger.jobs_of(kit.open(plan)).values()) == {"4_0", "4_1", "5", "6"}


def test_what_another_run_published_before_its_job_was_submitted_counts_as_done(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, other = toy_plan(), toy_plan(report__title="Other")
    monkeypatch.setenv("TOY_FAIL", "number")
    kit.run_task(plan, "right")  # This run has a failure on record.
    monkeypatch.delenv("TOY_FAIL")
    for task in ("left", "right"):
        kit.run_task(other, task)

    queue = Zombies()

    def go_on() -> None:
        for task in plan.tasks[2:]:
            if len(queue.names) == 2 and not kit.open(plan).attempts(task.id):
                kit.run_task(plan, task.id)

    results = run(kit, plan, dataclasses.replace(queue, then=go_on))
    told = {name: r.record.outcome for name, r in results.items() if isinstance(r, Attempt)}
    assert told == {"left": "cached", "right": "cached", "total": "succeeded", "report": "succeeded"}
    assert queue.names == ["", "afterok:1"]  # Nothing was queued for the two.


def test_a_job_that_waits_for_one_that_is_done_is_let_go(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "STUCK_S", 0.05)
    plan = toy_plan()
    queue = Zombies(then=lambda: go_on())

    def go_on() -> None:
        begun = {"left", "right"} | {{"2": "total", "3": "report"}[job] for job, _ in queue.freed}
        for task in ("left", "right", "total", "report"):
            if task in begun and not kit.open(plan).attempts(task):
                kit.run_task(plan, task)

    results = run(kit, plan, queue)
    assert all(isinstance(r, Attempt) and r.ok for r in results.values())
    assert queue.freed == [("2", ""), ("3", "")]
    assert [e["job"] for e in kit.open(plan).journal.read() if e["event"] == "jobs_freed"] == ["2", "3"]


def test_a_job_that_was_cancelled_is_not_joined_though_it_lingers_in_the_queue(kit: Kit) -> None:
    plan, queue = toy_plan(), Zombies()
    folder = kit.open(plan)

    def submit() -> dict[str, str]:
        executor = QueueExecutor(kit.store, SiteConfig(poll_s=0.01), {}, scheduler=queue)
        for task in plan.tasks:
            executor.submit(plan, folder, task.id, ())
        return executor.flush()

    first = submit()
    assert submit() == first
    cancel(folder, queue)
    again = submit()
    assert set(again.values()) & set(first.values()) == set()


def test_who_asks_for_jobs_again_reads_only_what_is_new(kit: Kit) -> None:
    plan = toy_plan()
    folder = kit.open(plan)
    jobs = ledger.Jobs(folder)
    assert jobs.now() == {}
    ledger.note_submitted(folder, Batch({0: "left", 1: "right"}), "7")
    assert jobs.now() == {"left": "7_0", "right": "7_1"}
    read_so_far = jobs._tail._offset
    assert read_so_far == folder.journal.path.stat().st_size
    with folder.journal.path.open("a") as f:  # A line that is being written.
        f.write('{"event":"jobs_submitted","jobs":{"left"')
    assert jobs.now() == {"left": "7_0", "right": "7_1"}
    assert jobs._tail._offset == read_so_far
    with folder.journal.path.open("a") as f:
        f.write(':"9"}}\n')
    assert jobs.now() == {"left": "9", "right": "7_1"}
    folder.journal.path.write_text('{"event":"jobs_submitted","jobs":{"left":"1"}}\n')
    assert jobs.now() == ledger.jobs_of(folder) == {"left": "1"}
