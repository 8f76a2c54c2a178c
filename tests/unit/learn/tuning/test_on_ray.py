"""The same searches on a real Ray of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from ray_slots import three_slots
from tuning_kit import both_begun, bowl, fragile, info, unhurried_bowl
from waiting import LIMIT_S
from wandb_server import served_to_client

from candor.errors import ConfigError
from candor.flow.locks import key_lock
from candor.learn.tuning.study import Study, TrialRecord, open_study
from candor.learn.tuning.tracked import TrackedStudy
from candor.tracking.sync import Synchroniser
from candor.tracking.wandb import Destination, MirroredRun

pytest.importorskip("ray")
pytest.importorskip("optuna")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with three_slots():
        yield


def search(study: Study, run_trial: object, at_most: int | None = 2) -> list[TrialRecord]:
    from candor.learn.tuning.on_ray import TrialResources, search_on_ray

    told: list[TrialRecord] = []
    search_on_ray(study, run_trial, at_most=at_most, resources=TrialResources(), on_trial=told.append)  # type: ignore[arg-type]
    return told


def test_ray_runs_the_trials_and_records_are_as_anywhere(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(3))
    told = search(study, bowl)
    trials = study.trials()
    assert [t.number for t in trials] == list(range(3)) == sorted(t.number for t in told)
    assert all(t.state == "complete" and len(t.curve) == 3 for t in trials)
    best = study.best()
    assert best is not None
    assert best.value == min(t.value for t in trials if t.value is not None)


def test_a_second_search_adds_only_what_is_missing(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(2))
    search(study, bowl)
    first = study.trials()
    open_study(tmp_path, info(3))
    assert len(search(study, bowl)) == 1
    assert study.trials()[:2] == first
    assert search(study, bowl) == []


def test_a_trial_that_was_under_way_is_repeated_with_its_values(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(2))
    values = {"x": 1.25, "kind": "b", "n": 3}
    study.write(TrialRecord(number=0, values=values))
    search(study, bowl)
    assert [t.state for t in study.trials()] == ["complete", "complete"]
    assert values in [t.values for t in study.trials()]
    assert study.set_aside_running() == []  # It waits to be repeated no longer.


def test_unless_told_how_many_as_many_trials_go_at_a_time_as_there_is_room_for(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(2))
    search(study, partial(both_begun, study.path), at_most=None)
    assert [t.state for t in study.trials()] == ["complete", "complete"]


def test_asha_stops_poor_trials_and_wandb_is_shown_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    study = open_study(tmp_path, info(6, pruner="asha"))
    search(study, unhurried_bowl, at_most=3)
    stopped = [t for t in study.trials() if t.state == "pruned"]
    assert stopped
    assert all(len(t.curve) < 10 for t in stopped)
    assert study.best() is not None
    with served_to_client(monkeypatch) as server:
        to = Destination("cars", tmp_path, timeout_s=LIMIT_S)
        synchroniser = Synchroniser(TrackedStudy(study), "cars", lambda trial: MirroredRun(trial, to))
        assert {t.state for t in synchroniser.once()} == {"sent"}
    told = {run.about["displayName"]: run.summary["outcome"] for run in server.runs.values()}
    assert told == {f"trial-{t.number}": t.state for t in study.trials()}


def test_the_median_stops_poor_trials_where_it_was_asked_for(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(12, pruner="median"))
    search(study, unhurried_bowl, at_most=2)
    stopped = [t for t in study.trials() if t.state == "pruned"]
    assert stopped
    assert {t.reason for t in stopped} == {"stopped by the median rule"}
    assert len(study.trials()) == 12
    # The first have no median to be behind. Which trials come after five have ended is decided by how fast the two slots are.
    assert sum(t.state == "complete" for t in study.trials()) >= 5
    assert all(len(t.curve) > 2 for t in stopped)
    assert any(len(t.curve) < 10 for t in stopped)


def test_out_of_memory_fails_at_once_and_is_recorded(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(5))
    search(study, fragile)
    failed = [t for t in study.trials() if t.state == "failed"]
    assert failed
    assert all(t.out_of_memory for t in failed)
    assert len(study.trials()) == 5


def test_gpus_that_no_node_has_are_refused_where_ray_would_wait_for_ever(tmp_path: Path) -> None:
    from candor.learn.tuning.on_ray import TrialResources, search_on_ray

    study = open_study(tmp_path, info(1))
    with pytest.raises(ConfigError, match="asks for 4 GPU"):
        search_on_ray(study, bowl, at_most=1, resources=TrialResources(1, 4))
    # Processors are wishes: a smaller machine gives all it has.
    search_on_ray(study, bowl, at_most=1, resources=TrialResources(999, 0))
    assert [t.state for t in study.trials()] == ["complete"]


def test_a_second_search_of_a_study_at_the_same_time_is_refused(tmp_path: Path) -> None:
    """It would take what the first has under way for lost, and begin it anew under the same numbers."""
    study = open_study(tmp_path, info(2))
    study.write(TrialRecord(number=0, values={"x": 1.25, "kind": "b", "n": 3}))
    with key_lock(study.path / "ray.lock"), pytest.raises(ConfigError, match="another process"):
        search(study, bowl)
    assert [t.state for t in study.trials()] == ["running"]
