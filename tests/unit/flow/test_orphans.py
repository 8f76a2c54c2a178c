"""What killed runs left behind is found, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flow_kit import Kit, one_task, toy_plan

from candor.flow.attempt import Attempt, AttemptRecord
from candor.flow.locks import key_lock
from candor.flow.orphans import Clinic, Orphan
from candor.flow.process import ProcessId

DEAD = ProcessId(host=ProcessId.current().host, pid=2**22 - 1, started="long ago")
ELSEWHERE = ProcessId(host="another-node", pid=77, started="x")


def clinic(kit: Kit, **options: Any) -> Clinic:
    return Clinic(kit.store, kit.root, **options)


def kinds(orphans: list[Orphan]) -> list[str]:
    return sorted(o.kind for o in orphans)


def attempt_of(kit: Kit, process: ProcessId) -> Attempt:
    """An attempt that says it is running, in that process, with a row of metrics so far."""
    plan = one_task()
    done = kit.run_one(lambda inputs, out: None)
    artifact = kit.artifact(plan, "only").path
    (artifact / "record.json").unlink()
    artifact.rmdir()
    key = plan.task("only").key
    (kit.store.scratch("stage", key) / "metrics.jsonl").write_text('{"loss": 0.5}\n')
    fields = {
        "outcome": "running",
        "process": process.model_dump(),
        "reason": None,
        "summary": None,
    }
    return done.updated(fields)


def on_disk(attempt: Attempt) -> AttemptRecord:
    return AttemptRecord.model_validate_json((attempt.path / "record.json").read_bytes())


def age(path: Path, days: float) -> None:
    for p in [path, *path.rglob("*")]:
        os.utime(p, times=(time.time() - days * 86400,) * 2)


def test_after_a_run_that_went_well_there_is_nothing_to_find(kit: Kit) -> None:
    kit.run_all(toy_plan())
    assert list(clinic(kit).find()) == []


def test_a_dead_attempt_keeps_its_reason_and_partial_metrics(kit: Kit) -> None:
    attempt = attempt_of(kit, DEAD)
    assert kinds(list(clinic(kit).find())) == ["attempt"]
    assert on_disk(attempt).outcome == "running"
    assert kinds(list(clinic(kit).clean())) == ["attempt"]
    record = on_disk(attempt)
    assert record.outcome == "killed"
    assert "ended without a word" in (record.reason or "")
    assert record.metrics == "metrics.jsonl"
    assert (attempt.path / "metrics.jsonl").read_text() == '{"loss": 0.5}\n'
    assert kit.open(one_task()).journal.read()[-1]["outcome"] == "killed"
    assert list(clinic(kit).find()) == []


def test_an_attempt_whose_process_lives_but_holds_no_lock_is_dead(kit: Kit) -> None:
    attempt = attempt_of(kit, ProcessId.current())
    assert kinds(list(clinic(kit).clean())) == ["attempt"]
    assert "works on something else" in (on_disk(attempt).reason or "")


def test_an_attempt_at_work_is_left_alone(kit: Kit) -> None:
    attempt = attempt_of(kit, ProcessId.current())
    with kit.store.lock(attempt.record.key):
        kit.store.staging(attempt.record.key)
        assert list(clinic(kit, older_than_s=0).clean()) == []
    assert on_disk(attempt).outcome == "running"


def test_an_attempt_of_another_machine_is_only_judged_by_its_job(kit: Kit) -> None:
    attempt = attempt_of(kit, ELSEWHERE)
    assert list(clinic(kit).clean()) == []
    assert on_disk(attempt).outcome == "running"
    assert kinds(list(clinic(kit, job_ended=lambda record: True).clean())) == ["attempt"]
    assert on_disk(attempt).outcome == "killed"


def test_staging_that_nobody_builds_goes_and_staging_that_somebody_builds_stays(kit: Kit) -> None:
    (kit.store.staging("a" * 64) / "half").write_text("x")
    kit.store.staging("b" * 64)
    with kit.store.lock("b" * 64):
        assert kinds(list(clinic(kit).clean())) == ["staging"]
    assert [p.name for p in (kit.store.cache_root / "staging").iterdir()] == ["b" * 64]


def test_old_scratch_that_no_run_knows_goes_and_checkpoints_of_runs_stay(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", "number")
    kit.run_all(toy_plan())
    checkpoints = sorted((kit.store.cache_root / "scratch").glob("*/*/step"))
    assert len(checkpoints) == 2
    unknown = kit.store.scratch("number", "c" * 64)
    (unknown / "step").write_text("3")
    assert list(clinic(kit).clean()) == []  # Somebody may have begun it a minute ago.
    age(kit.store.cache_root / "scratch", days=3)
    found = list(clinic(kit).clean())
    assert [(o.kind, o.path) for o in found] == [("scratch", unknown)]
    assert not unknown.exists()
    assert all(p.exists() for p in checkpoints)


def test_scratch_of_a_published_artifact_goes(kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    kit.store.scratch("number", plan.task("left").key)
    assert kinds(list(clinic(kit).clean())) == ["scratch"]


def test_old_locks_go_and_held_ones_stay(kit: Kit) -> None:
    kit.run_all(toy_plan())
    locks = kit.store.cache_root / "locks"
    age(locks, days=3)
    held = sorted(locks.iterdir())[0]
    with key_lock(held):
        age(locks, days=3)
        assert kinds(list(clinic(kit).clean())) == ["lock"] * 3
    assert [p.name for p in locks.iterdir()] == [held.name]


def test_no_published_artifact_is_ever_touched(kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    before = {p: p.stat().st_mtime_ns for p in (kit.store.cache_root / "artifacts").rglob("*")}
    for task in plan.tasks:
        (kit.store.staging(task.key) / "half").write_text("x")
        (kit.store.scratch(task.stage, task.key) / "step").write_text("1")
    age(kit.store.cache_root / "scratch", days=9)
    age(kit.store.cache_root / "locks", days=9)
    # Not even if nobody knows the runs any more.
    for path in kit.root.glob("runs/*/run.json"):
        path.unlink()
    assert set(kinds(list(clinic(kit, older_than_s=0).clean()))) == {"staging", "scratch", "lock"}
    assert {p: p.stat().st_mtime_ns for p in (kit.store.cache_root / "artifacts").rglob("*")} == before
    assert set(kit.states(plan).values()) == {"cached"}
    assert json.loads((kit.artifact(plan, "total").path / "value.json").read_text()) == 3
