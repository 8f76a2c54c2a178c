"""Trials of a study at W&B: its real client, before an imitation of its service."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuning_kit import bowl, fragile, info, long_bowl
from waiting import LIMIT_S
from wandb_server import KEY, WandbServer, served_to_client

from candor.learn.tuning import study as studies
from candor.learn.tuning.search import Outcome, Searcher
from candor.learn.tuning.study import Study, TrialRecord, open_study
from candor.learn.tuning.tracked import TrackedStudy
from candor.tracking.sync import Synchroniser, TaskSync
from candor.tracking.wandb import Destination, MirroredRun

VALUES = {"x": 1.0, "kind": "a", "n": 2}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    pytest.importorskip("wandb")
    with served_to_client(monkeypatch) as running:
        yield running


def sync(study: Study, *, timeout_s: float = LIMIT_S, keep_open: bool = False) -> list[TaskSync]:
    folder = study.path / "client"
    folder.mkdir(exist_ok=True)
    to = Destination("cars", folder, timeout_s=timeout_s)
    mirror = Synchroniser(TrackedStudy(study), "cars", lambda trial: MirroredRun(trial, to))
    return list(mirror.once(keep_open=keep_open))


def test_values_that_are_tried_again_are_the_same_run_and_a_larger_study_too(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(2))
    study.write(TrialRecord(number=0, values=VALUES))
    study.write(TrialRecord(number=1, values={**VALUES, "n": 3}))
    first = [t.id for t in TrackedStudy(study).shown()]
    # Its worker was killed, and its values were queued again.
    (study.path / "trials" / "0.json").unlink()
    study.write(TrialRecord(number=2, values=VALUES, state="complete", value=1.0))
    open_study(tmp_path, info(9))
    again = {t.id: t.name for t in TrackedStudy(study).shown()}
    assert again == {first[1]: "trial-1", first[0]: "trial-2"}
    other = open_study(tmp_path, info(2, study="other"))
    other.write(TrialRecord(number=0, values=VALUES))
    assert [t.id for t in TrackedStudy(other).shown()] != first[:1]


def test_a_running_trial_shows_how_far_it_is(tmp_path: Path) -> None:
    study, seen = open_study(tmp_path, info(1)), []

    def watched(values: dict[str, studies.Value], report: object) -> Outcome:
        for epoch in range(2):
            report(epoch, 3.0 - epoch)  # type: ignore[operator]
            (trial,) = TrackedStudy(study).shown()
            seen.append((trial.outcome, [r.metrics["loss"] for r in trial.rows]))
        return Outcome("run")

    Searcher(study, watched).run()
    assert seen == [("running", [3.0]), ("running", [3.0, 2.0])]
    assert [t.outcome for t in TrackedStudy(study).shown()] == ["complete"]


def test_a_full_disk_stops_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path, info(1))
    real = studies.write_atomic

    def full(path: Path, text: str, *, durable: bool = True) -> None:
        if not durable:
            raise OSError(28, "No space left on device")
        real(path, text)

    monkeypatch.setattr(studies, "write_atomic", full)
    Searcher(study, bowl).run()
    assert [t.state for t in study.trials()] == ["complete"]


@pytest.mark.slow
def test_every_trial_arrives_with_its_values_its_curve_and_how_it_ended(
    server: WandbServer, tmp_path: Path
) -> None:
    study = open_study(tmp_path, info(14, pruner="median"))
    Searcher(study, long_bowl).run()
    Searcher(open_study(tmp_path, info(16, pruner="median")), fragile).run()
    trials = study.trials()
    assert {t.state for t in trials} >= {"complete", "pruned"}
    assert {t.state for t in sync(study)} == {"sent"}
    assert len(server.runs) == len(trials)
    for shown in TrackedStudy(study).shown():
        run, trial = server.runs[shown.id], shown.record
        assert (run.about["displayName"], run.about["jobType"], run.about["groupName"]) == (
            f"trial-{trial.number}",
            "trial",
            "bowl",
        )
        assert {k: run.config[k]["value"] for k in trial.values} == trial.values
        assert [(h["epoch"], h["epoch/loss"]) for h in run.history] == list(trial.curve)
        assert run.summary["outcome"] == trial.state
        assert run.summary.get("value") == trial.value
        assert run.exit_code == (1 if trial.state == "failed" else 0)
    assert server.unknown == []


@pytest.mark.slow
def test_a_trial_under_way_is_gone_on_with_and_nothing_is_sent_twice(
    server: WandbServer, tmp_path: Path
) -> None:
    study = open_study(tmp_path, info(2))
    begun = TrialRecord(number=0, values=VALUES, value=2.0, curve=((0, 2.0),), duration_s=1.0)
    study.write(begun)
    assert [(t.state, t.sent_rows) for t in sync(study)] == [("sent", 1)]
    # Another process goes on: it resumes the run by its ID.
    ended = begun.model_copy(
        update={
            "state": "failed",
            "curve": ((0, 2.0), (1, 1.5)),
            "reason": "no memory",
            "out_of_memory": True,
        }
    )
    study.write(ended)
    assert [(t.state, t.sent_rows) for t in sync(study)] == [("sent", 1)]
    (run,) = server.runs.values()
    assert [h["epoch/loss"] for h in run.history] == [2.0, 1.5]
    assert (run.summary["outcome"], run.summary["reason"], run.exit_code) == ("failed", "no memory", 1)
    before = len(server.requests)
    assert [t.state for t in sync(study)] == ["up to date"]
    assert len(server.requests) == before


@pytest.mark.slow
def test_a_service_that_refuses_and_a_wrong_key_lose_no_trial(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(tmp_path, info(2))
    Searcher(study, bowl).run()
    kept = study.trials()
    server.refuse = 403
    assert {t.state for t in sync(study, timeout_s=5)} == {"failed"}
    with monkeypatch.context() as wrong:
        wrong.setenv("WANDB_API_KEY", "local-" + "1" * 40)
        forget_the_client()
        server.refuse = None  # From here on, for a client that does not know the right key.
        told = sync(study, timeout_s=5)
        assert {t.state for t in told} == {"failed"}
        assert KEY not in told[0].reason
    forget_the_client()
    assert server.runs == {}
    assert {t.state for t in sync(study)} == {"sent"}
    assert study.trials() == kept


def forget_the_client() -> None:
    """It keeps address and key for the life of its service process."""
    import wandb

    wandb.teardown()


@pytest.mark.slow
def test_offline_the_client_writes_a_run_that_can_be_sent_by_its_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    study = open_study(tmp_path, info(1))
    Searcher(study, bowl).run()
    (trial,) = TrackedStudy(study).shown()
    mirror = MirroredRun(trial, Destination("cars", tmp_path, mode="offline"))
    assert mirror.push(trial) == 3
    mirror.close()
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert trial.id in kept.name
    assert kept.stat().st_size > 0


@pytest.mark.slow
def test_nothing_of_this_machine_is_told(server: WandbServer, tmp_path: Path) -> None:
    study = open_study(tmp_path, info(1))
    Searcher(study, bowl).run()
    sync(study)
    told = json.dumps([[r.config, r.summary, r.about] for r in server.runs.values()])
    for secret in (socket.gethostname() + '"', str(tmp_path), os.getcwd(), KEY):
        assert secret not in told
