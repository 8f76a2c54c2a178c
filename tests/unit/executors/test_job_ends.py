"""An attempt on another machine is dead only if the scheduler says so of that very start of its job."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import pytest

from candor.errors import SchedulerError
from candor.executors.job_ends import JobEnds, hosts
from candor.executors.scheduler import Accounted, Queued
from candor.executors.slurm_commands import Slurm
from candor.flow.attempt import AttemptRecord
from candor.flow.process import ProcessId

#: 1970-01-01T00:20:00Z
STARTED_S = 1200.0
ROW = Accounted(
    "7_1", "FAILED", 1, STARTED_S - 5, STARTED_S + 60, 65.0, None, 0.0, 1, "node[1-2]", None, None
)


def record(**changes: Any) -> AttemptRecord:
    told = {
        "run": "r", "task": "t", "stage": "s", "version": 1, "key": "k", "attempt": 1, "config": {}, "inputs": {},
        "code_version": "x", "process": ProcessId(host="node2", pid=1, started="x"), "job": "7_1",
        "started": "1970-01-01T00:20:00+00:00",
    }  # fmt: skip
    return AttemptRecord.model_validate(told | changes)


@dataclasses.dataclass(frozen=True)
class Told(Slurm):
    queued: tuple[str, ...] = ()
    rows: tuple[Accounted, ...] = ()
    away: bool = False

    def queue(self) -> list[Queued]:
        if self.away:
            raise SchedulerError("the scheduler does not answer")
        return [Queued(job, "RUNNING", "", "") for job in self.queued]

    def accounting(self, jobs: Collection[str]) -> list[Accounted]:
        return [row for row in self.rows if row.job in jobs]


@pytest.mark.parametrize("state", ["FAILED", "NODE_FAIL", "TIMEOUT", "CANCELLED", "COMPLETED"])
def test_a_job_that_the_accounts_say_ended_is_over(state: str) -> None:
    assert JobEnds(Told(rows=(dataclasses.replace(ROW, state=state),)))(record())


def test_an_earlier_start_of_a_job_that_was_requeued_is_over_and_the_last_is_not() -> None:
    first = dataclasses.replace(ROW, state="REQUEUED")
    second = dataclasses.replace(ROW, state="RUNNING", start=STARTED_S + 200, end=None)
    ends = JobEnds(Told(queued=("7_1",), rows=(first, second)))
    assert ends(record())
    assert not ends(record(started="1970-01-01T00:24:00+00:00"))


@pytest.mark.parametrize(
    ("slurm", "changes"),
    [
        (Told(queued=("7_1",), rows=(dataclasses.replace(ROW, state="RUNNING", end=None),)), {}),
        (Told(rows=()), {}),  # No accounts: silence is no evidence.
        (Told(rows=(ROW,)), {"job": None}),
        (
            Told(rows=(ROW,)),
            {"process": ProcessId(host="elsewhere", pid=1, started="x")},
        ),  # Another cluster's 7_1.
        (Told(rows=(ROW,)), {"started": "1970-01-02T00:00:00+00:00"}),  # A number that was given out twice.
        (Told(away=True), {}),
    ],
)
def test_without_evidence_it_counts_as_alive(slurm: Told, changes: dict[str, Any]) -> None:
    assert not JobEnds(slurm)(record(**changes))


def test_a_scheduler_that_is_away_is_asked_once_and_told_of() -> None:
    ends = JobEnds(Told(away=True))
    assert not ends(record())
    assert "does not answer" in ends.trouble


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node1", {"node1"}),
        ("node[1-2]", {"node1", "node2"}),
        ("c[08-10,12],login", {"c08", "c09", "c10", "c12", "login"}),
        ("r[1-2]n[3-4]", {"r1n3", "r1n4", "r2n3", "r2n4"}),
        ("", set()),
    ],
)
def test_lists_of_nodes_are_read(text: str, names: set[str]) -> None:
    assert hosts(text) == names
