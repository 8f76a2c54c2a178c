from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from flow_kit import Kit, one_task

from candor.errors import SchedulerError
from candor.executors import ledger
from candor.executors.endings import ending
from candor.executors.scheduler import Accounted, Queued
from candor.executors.settling import explain, incarnation, still_counted
from candor.executors.slurm_commands import Slurm, parse_accounts
from candor.flow.attempt import iso_seconds

GB = 1024**3
ROW = Accounted("7_1", "FAILED", 1, 100.0, 160.0, 60.0, 3600.0, 50.0, 1, "node1", GB, None)


@pytest.mark.parametrize(
    ("state", "error", "next_step"),
    [
        ("OUT_OF_MEMORY", "OutOfMemory", "stages.curriculum.memory_gb=2"),
        ("TIMEOUT", "TimeLimit", "stages.curriculum.time_limit_min=120"),
        ("NODE_FAIL", "NodeFailure", "nothing to change"),
        ("PREEMPTED", "Preempted", "goes on from the last checkpoint"),
        ("CANCELLED", "Cancelled", "the same command"),
        ("REQUEUED", "Requeued", "goes on from the last checkpoint"),
        ("FAILED", "Killed", "read the job's output"),
    ],
)
def test_ends_are_told_apart_and_say_what_to_change(state: str, error: str, next_step: str) -> None:
    told = ending(dataclasses.replace(ROW, state=state), stage="curriculum")
    assert told.error == error
    assert next_step in told.reason
    assert "7_1" in told.reason


def test_a_cluster_without_cgroups_does_not_say_that_memory_was_the_cause() -> None:
    told = ending(dataclasses.replace(ROW, exit_code=0, peak_memory_bytes=3 * GB), stage="number")
    assert told.error == "OutOfMemory"
    assert "memory_gb=4" in told.reason


def test_a_verdict_waits_a_little_for_the_memory_that_its_steps_took() -> None:
    silent = dataclasses.replace(ROW, state="CANCELLED", exit_code=0)
    assert still_counted(silent, now=161.0)
    assert not still_counted(silent, now=200.0)
    assert not still_counted(dataclasses.replace(silent, peak_memory_bytes=3 * GB), now=161.0)
    assert not still_counted(dataclasses.replace(silent, state="TIMEOUT"), now=161.0)


#: As sacct of SLURM 22.05 printed it for a requeued array, a node that died, and a job over its memory.
SACCT = """\
36_0|NODE_FAIL|0:0|1795338448|1795338451|3|60|3|1|node1|1000M||00:00:00
36_0.batch|CANCELLED||1795338448|1795338451|3||3|1|node1|||00:00:00
36_1|COMPLETED|0:0|1795338452|1795338457|5|60|5|1|node2|1000M||00:04.500
36_1.batch|COMPLETED|0:0|1795338452|1795338457|5||5|1|node2||101552K|00:04.500
36_0|COMPLETED|0:0|1795338452|1795338463|11|60|11|1|node2|1000M||1-00:00:10
36_0.batch|COMPLETED|0:0|1795338452|1795338463|11||11|1|node2||54108K|00:10
44|CANCELLED by 0|0:0|Unknown|Unknown|0|UNLIMITED|0|2||2000Mc||
"""


def test_the_accounts_of_a_requeued_job_are_read_start_by_start() -> None:
    first, last = parse_accounts(SACCT, ["36_0"])
    assert (first.state, first.nodes, first.peak_memory_bytes) == ("NODE_FAIL", "node1", None)
    assert (last.state, last.peak_memory_bytes, last.limit_s, last.memory_bytes) == (
        "COMPLETED",
        54108 * 1024,
        3600.0,
        1000 * 1024**2,
    )
    assert last.cpu_s == 86410
    (never,) = parse_accounts(SACCT, ["44"])
    assert (never.state, never.start, never.limit_s, never.memory_bytes) == (
        "CANCELLED",
        None,
        None,
        4000 * 1024**2,
    )


def test_an_attempt_gets_the_word_on_the_start_it_belongs_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDOR_JOB", "7_1")
    kit, plan = Kit(tmp_path), one_task()
    attempt = kit.run_one(lambda inputs, out: None)
    assert attempt.record.job == "7_1"
    began = iso_seconds(attempt.record.started)
    rows = [
        dataclasses.replace(ROW, state="NODE_FAIL", start=began - 2, end=began + 9),
        dataclasses.replace(ROW, state="COMPLETED", start=began + 10, end=None),
    ]
    assert incarnation(attempt.record, rows) is rows[0]
    # One that wrote its own end keeps it; one that could not gets SLURM's.
    task, run = plan.task("only"), kit.open(plan)
    assert explain(run, attempt, task, rows).record.outcome == "succeeded"
    lost = attempt.updated({"outcome": "running", "duration_s": None})
    told = explain(run, lost, task, rows).record
    assert (told.outcome, told.error) == ("killed", "NodeFailure")
    assert told.duration_s == pytest.approx(9, abs=1)
    assert run.attempts("only")[0].record.error == "NodeFailure"


def test_what_ran_in_an_allocation_is_told_to_ask_more_for_the_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger request of the task's own stage would change nothing: none is made."""
    monkeypatch.setenv("CANDOR_JOB", "7")
    kit, plan = Kit(tmp_path), one_task()
    lost = kit.run_one(lambda inputs, out: None).updated({"outcome": "running", "duration_s": None})
    began = iso_seconds(lost.record.started)
    task, run = plan.task("only"), kit.open(plan)
    rows = [dataclasses.replace(ROW, job="7", state="OUT_OF_MEMORY", start=began - 2, end=began + 9)]
    ledger.note_shared(run, "ray", ["only"], "7")
    assert "--site-set stages.ray.memory_gb=" in (explain(run, lost, task, rows).record.reason or "")


def test_a_machine_without_slurm_says_where_to_submit_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SchedulerError, match="login node"):
        Slurm().queue()


def test_a_controller_that_is_away_for_a_moment_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "squeue"
    fake.write_text(
        f"#!/bin/bash\nif [ ! -e {tmp_path}/asked ]; then touch {tmp_path}/asked; "
        "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1; fi\n"
        "echo '5_1|RUNNING|None|node1|1764000000|candor.x|left'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Slurm().queue() == [Queued("5_1", "RUNNING", "None", "candor.x|left", "node1", 1764000000.0)]
    (tmp_path / "asked").unlink()
    with pytest.raises(SchedulerError, match="does not answer"):
        Slurm(patience_s=0).queue()


def test_a_refusal_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "sbatch"
    fake.write_text(
        f"#!/bin/bash\necho x >>{tmp_path}/calls; echo 'sbatch: error: invalid account' >&2; exit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SchedulerError, match="invalid account"):
        Slurm().submit(tmp_path / "x.sh")
    assert (tmp_path / "calls").read_text() == "x\n"
