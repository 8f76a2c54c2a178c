"""W&B's real client, writing to an imitation of its service: what arrives, and what happens when nothing does."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flow_kit import Kit, toy_plan
from ports import reserved_port
from waiting import LIMIT_S
from wandb_server import KEY, WandbServer, served_to_client

from candor.flow.plan import Plan
from candor.tracking.sync import Synchroniser, TaskSync
from candor.tracking.tracked import TrackedRun
from candor.tracking.wandb import Destination, MirroredRun, artifact_name

pytestmark = pytest.mark.slow
pytest.importorskip("wandb")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with served_to_client(monkeypatch) as running:
        yield running


def _forget_the_client() -> None:
    """The client keeps address and key for the life of its service process."""
    import wandb

    wandb.teardown()


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def sync(kit: Kit, plan: Plan, *, timeout_s: float = LIMIT_S) -> list[TaskSync]:
    folder = kit.root / "client"
    folder.mkdir(exist_ok=True)
    to = Destination("cars", folder, timeout_s=timeout_s)
    synchroniser = Synchroniser(
        TrackedRun(kit.open(plan), kit.store), "cars", lambda task: MirroredRun(task, to)
    )
    return list(synchroniser.once())


def test_metrics_configs_and_outcomes_arrive_as_recorded(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan(left__value=5)
    kit.run_all(plan)
    assert {t.task: (t.state, t.sent_rows) for t in sync(kit, plan)} == {
        "left": ("sent", 3),
        "right": ("sent", 3),
        "total": ("sent", 0),
        "report": ("sent", 0),
    }
    run = server.runs[plan.task("left").key[:24]]
    assert [(h["epoch"], h["epoch/value"]) for h in run.history] == [(0, 5), (1, 10), (2, 15)]
    assert run.config["value"]["value"] == 5
    assert run.config["candor"]["value"]["key"] == plan.task("left").key
    assert run.summary["outcome"] == "published"
    assert (run.about["displayName"], run.about["jobType"], run.about["groupName"]) == (
        "left",
        "number",
        plan.run_id,
    )
    assert run.exit_code == 0
    assert server.unknown == []


def test_artifacts_know_what_they_were_made_from(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    sync(kit, plan)
    name = {t.id: artifact_name(t.stage, t.key) for t in plan.tasks}
    assert {server.artifacts[name[t]]["type"] for t in ("left", "total")} == {"number", "total"}
    total = plan.task("total").key[:24]
    assert sorted(used for run, used in server.uses if run == total) == sorted([name["left"], name["right"]])


def test_sending_twice_sends_nothing_twice(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    sync(kit, plan)
    before = len(server.requests)
    assert {t.state for t in sync(kit, plan)} == {"up to date"}
    assert len(server.requests) == before


def test_a_lost_note_of_what_was_sent_repeats_no_row(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    sync(kit, plan)
    for note in kit.open(plan).path.glob("tracking/*.sent.json"):
        note.unlink()
    assert {t.task: t.sent_rows for t in sync(kit, plan)}["left"] == 0
    assert len(server.runs[plan.task("left").key[:24]].history) == 3


def test_what_the_service_refused_is_sent_the_next_time(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    server.refuse = 403
    failed = sync(kit, plan, timeout_s=5)
    assert {t.state for t in failed} == {"failed"}
    server.refuse = None
    again = sync(kit, plan)
    assert {(t.state, t.reason) for t in again} == {("sent", "")}
    assert len(server.runs[plan.task("right").key[:24]].history) == 3


def test_a_wrong_key_is_told_and_loses_nothing(
    server: WandbServer, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "1" * 40)
    _forget_the_client()
    told = sync(kit, plan, timeout_s=5)
    assert {t.state for t in told} == {"failed"}
    assert "candor track sync" in told[0].reason
    assert KEY not in told[0].reason
    assert server.runs == {}


def test_a_service_that_is_away_is_told_in_bounded_time(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with reserved_port() as port:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        _forget_the_client()
        assert {t.state for t in sync(kit, plan, timeout_s=2)} == {"failed"}


def test_nothing_of_this_machine_is_told(server: WandbServer, kit: Kit) -> None:
    plan = toy_plan()
    kit.run_all(plan)
    sync(kit, plan)
    told = json.dumps([[r.config, r.summary, r.about] for r in server.runs.values()])
    for secret in (socket.gethostname() + '"', str(kit.root), os.getcwd(), KEY):
        assert secret not in told
