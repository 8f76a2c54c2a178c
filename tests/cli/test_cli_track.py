"""``candor track`` and ``candor run --track``: a mirror that no training waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Cli
from waiting import LIMIT_S, wait_until
from wandb_server import WandbServer, served_to_client

from candor.flow.locks import held_if_free

pytest.importorskip("wandb")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with served_to_client(monkeypatch) as running:
        yield running


def test_a_run_is_offline_until_it_is_sent(cli: Cli) -> None:
    cli("run", "toy", "-d", "small")
    told = json.loads(cli("track", "status", "--json").out)
    ((run, tasks),) = told.items()
    assert run.startswith("toy-small-")
    assert {t["task"]: (t["state"], t["rows"]) for t in tasks} == {
        "left": ("to send", 3),
        "right": ("to send", 3),
        "total": ("to send", 0),
        "report": ("to send", 0),
    }


@pytest.mark.slow
def test_sync_sends_a_run_and_says_so(cli: Cli, server: WandbServer) -> None:
    cli("run", "toy", "-d", "small")
    assert cli("track", "sync", "--project", "cars").code == 0
    assert len(server.runs) == 4
    shown = cli("track", "status", "--project", "cars").out
    assert shown.count("up to date") == 4


@pytest.mark.slow
def test_an_online_run_is_shown_while_it_goes(
    cli: Cli, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "cars")
    done = cli("run", "toy", "-d", "small", "--track", "online")
    assert done.code == 0
    assert "W&B: project cars" in done.err
    wait_until(lambda: sum(r.exit_code == 0 for r in server.runs.values()) == 4, "four tasks at W&B")


def test_what_one_process_sends_no_other_one_does(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor.cli.track._PATIENCE_S", 0.0)
    cli("run", "toy", "-d", "small")
    ((run, _),) = json.loads(cli("track", "status", "--json").out).items()
    folder = next(p for p in tmp_path.rglob("runs/*") if p.name == run) / "tracking"
    with held_if_free(folder / "send.lock") as free:
        assert free
        told = cli("track", "sync", "--json")
    assert told.code == 0
    assert "another process" in told.err
    assert {t["state"] for t in json.loads(told.out)[run]} == {"to send"}


def test_off_means_never_unless_asked_by_name(cli: Cli) -> None:
    cli("run", "toy", "-d", "small", "--track", "off")
    assert json.loads(cli("track", "sync", "--all", "--dry-run", "--json").out) == {}


@pytest.mark.slow
def test_a_service_that_refuses_fails_the_sync_and_not_the_run(
    cli: Cli, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candor.cli.track._PATIENCE_S", LIMIT_S)  # The run's follower may be at it.
    server.refuse = 403
    assert cli("run", "toy", "-d", "small", "--track", "online").code == 0
    failed = cli("track", "sync")
    assert failed.code == 12
    assert "Nothing is lost" in failed.err


def test_a_full_disk_for_tracking_stops_no_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("candor.tracking.sync.write_atomic", full)
    done = cli("run", "toy", "-d", "small", "--track", "online")
    assert done.code == 0
    assert "untracked" in done.err


def test_an_unknown_mode_is_refused_before_anything_runs(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "toy", "-d", "small", "--track", "sometimes")
    assert done.code == 2
    assert "online, offline or off" in done.err
    assert not list(tmp_path.rglob("artifacts"))
