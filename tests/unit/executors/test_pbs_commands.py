"""What qstat prints, read: shapes as in OpenPBS's manual and in outputs that sites have published."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from candor.errors import SchedulerError
from candor.executors.endings import ending
from candor.executors.pbs_commands import (
    _canonical,
    _depend,
    _native,
    accounts,
    parse_jobs,
    parse_nodes,
    state_of,
)
from candor.executors.settling import incarnation_at

ENDED: dict[str, Any] = {
    "job_state": "F",
    "Exit_status": 0,
    "qtime": "Sun Nov 22 10:00:00 2026",
    "stime": "Sun Nov 22 11:00:00 2026",
    "obittime": "Sun Nov 22 11:30:00 2026",
    "exec_host": "cx3-1-2/0*8",
    "run_count": 1,
    "Resource_List": {"mem": "64gb", "ncpus": 8, "walltime": "08:00:00"},
    "resources_used": {"mem": "1048576kb", "cput": "01:00:00", "walltime": "00:30:00"},
}


def job(**changes: Any) -> dict[str, Any]:
    return {**ENDED, **changes}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "COMPLETED"),
        ({"job_state": "X"}, "COMPLETED"),
        ({"Exit_status": 1}, "FAILED"),
        ({"Exit_status": -29}, "TIMEOUT"),
        ({"Exit_status": 271, "resources_used": {"walltime": "08:00:05"}}, "TIMEOUT"),
        ({"Exit_status": 130, "resources_used": {"walltime": "08:00:01"}}, "TIMEOUT"),
        ({"Exit_status": -27}, "OUT_OF_MEMORY"),
        ({"Exit_status": 265, "resources_used": {"mem": "66000000kb", "walltime": "1"}}, "OUT_OF_MEMORY"),
        ({"Exit_status": 265}, "FAILED"),
        ({"Exit_status": 271}, "CANCELLED"),
        ({"Exit_status": -4}, "NODE_FAIL"),
        ({"job_state": "Q"}, "PENDING"),
        ({"job_state": "H"}, "PENDING"),
        ({"job_state": "R"}, "RUNNING"),
        ({"job_state": "E"}, "COMPLETING"),
        ({"job_state": "S"}, "SUSPENDED"),
    ],
)
def test_states_and_endings_have_one_vocabulary(changes: dict[str, Any], state: str) -> None:
    assert state_of(job(**changes)) == state


def test_a_job_that_was_deleted_before_it_began_was_cancelled() -> None:
    assert state_of({"job_state": "F", "comment": "Job deleted as result of dependency"}) == "CANCELLED"


def test_an_account_has_units() -> None:
    (row,) = accounts("7", job())
    began = time.mktime(time.strptime(ENDED["stime"], "%a %b %d %H:%M:%S %Y"))
    assert (row.start, row.end, row.elapsed_s, row.limit_s) == (began, began + 1800, 1800.0, 28800.0)
    assert (row.cpus, row.nodes, row.cpu_s) == (8, "cx3-1-2", 3600.0)
    assert (row.memory_bytes, row.peak_memory_bytes) == (64 * 1024**3, 1024**3)


def test_a_start_that_was_not_the_last_is_known_to_have_been_requeued() -> None:
    rows = accounts("7", job(run_count=2))
    assert [r.state for r in rows] == ["REQUEUED", "COMPLETED"]
    assert rows[0].start is not None
    assert incarnation_at("7", rows[0].start + 60, rows) is rows[0]
    assert incarnation_at("7", (rows[1].start or 0) + 60, rows) is rows[1]


def test_a_time_limit_and_memory_are_told_apart_with_what_to_change() -> None:
    (late,) = accounts("7", job(Exit_status=-29))
    assert "time_limit_min=960" in ending(late, stage="curriculum").reason
    (fat,) = accounts("7", job(Exit_status=-27))
    assert ending(fat, stage="curriculum").error == "OutOfMemory"


def test_jobs_are_called_as_elsewhere_in_candor() -> None:
    assert [_canonical(x) for x in ("12.pbs-7", "12[].pbs", "12[3].pbs-7.cx3.hpc")] == ["12", "12", "12_3"]
    assert [_native(x) for x in ("12", "12_3")] == ["12", "12[3]"]
    # No job can wait for one element.
    assert _depend("afterok:12:13_0:13_1") == "afterok:12:13[]"


def test_output_that_is_no_json_says_so_and_none_is_no_job() -> None:
    assert parse_jobs("") == {}
    assert parse_jobs(json.dumps({"pbs_server": "x"})) == {}
    assert parse_jobs('{"Jobs": {"1.x": {"Variable_List": {"A": "a\tb"}}}}')["1.x"]
    with pytest.raises(SchedulerError, match="cannot be read"):
        parse_jobs('{"Jobs": {"1.x": {"a": 1,}}')


def test_a_free_node_is_idle_only_if_it_has_no_job() -> None:
    """As for SLURM: a job that is called running on an idle node does not run."""
    text = (
        "n1\n     state = free\n     jobs = 7.pbs/0\n\nn2\n     state = free\n\n"
        "n3\n     state = state-unknown,down\n\nn4\n     state = job-busy\n"
    )
    assert parse_nodes(text) == {"n1": "mixed", "n2": "idle", "n3": "down", "n4": "job-busy"}
