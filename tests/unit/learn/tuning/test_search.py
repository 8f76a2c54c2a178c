"""The search: as many trials as asked for, by any number of workers, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tuning_kit import SPACE, Report, bowl, fragile, info, long_bowl, search, search_after_all_died, slow
from waiting import LIMIT_S, wait_until

from candor.errors import ConfigError
from candor.learn.tuning.importances import importances
from candor.learn.tuning.optuna_journal import open_optuna
from candor.learn.tuning.search import Outcome, Searcher, revive
from candor.learn.tuning.spaces import Choice, Integer, LogUniform, Value
from candor.learn.tuning.study import TrialRecord, open_study

pytest.importorskip("optuna")


def test_a_search_runs_as_many_trials_as_asked_and_finds_the_bowl(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(40))
    search(study.path)
    trials = study.trials()
    assert [t.number for t in trials] == list(range(40))
    assert all(t.state == "complete" and len(t.curve) == 3 for t in trials)
    best = study.best()
    assert best is not None
    assert best.value is not None
    assert best.value < 0.6
    assert best.values["kind"] == "b"


def test_a_search_repeats_itself_with_its_seed(tmp_path: Path) -> None:
    values = []
    for root in ("one", "two"):
        study = open_study(tmp_path / root, info(8))
        search(study.path)
        values.append([t.values for t in study.trials()])
    assert values[0] == values[1]


def test_more_trials_go_on_where_it_ended(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(5))
    search(study.path)
    first = study.trials()
    open_study(tmp_path, info(9))
    search(study.path)
    assert study.trials()[:5] == first
    assert len(study.trials()) == 9


def test_a_study_is_not_mixed_with_another_search(tmp_path: Path) -> None:
    open_study(tmp_path, info(5))
    with pytest.raises(ConfigError, match="another dataset"):
        open_study(tmp_path, info(5, dataset="large"))


def test_out_of_memory_fails_at_once_and_is_recorded(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(12))
    search(study.path, fragile)
    failed = [t for t in study.trials() if t.state == "failed"]
    assert failed
    assert all(t.out_of_memory and "out of memory" in t.reason for t in failed)
    assert len(study.trials()) == 12
    best = study.best()
    assert best is not None
    assert best.values["kind"] == "b"


def test_poor_trials_are_stopped_early_where_asked(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(20, pruner="median"))
    search(study.path, long_bowl)
    states = {t.state for t in study.trials()}
    assert states == {"complete", "pruned"}
    assert all(len(t.curve) < 10 for t in study.trials() if t.state == "pruned")


def test_what_a_resumed_training_logs_again_is_not_counted_twice(tmp_path: Path) -> None:
    def resumed(values: dict[str, Value], report: Report) -> Outcome:
        for epoch in (0, 1, 1, 2):
            report(epoch, float(epoch))
        return Outcome("run")

    study = open_study(tmp_path, info(1))
    search(study.path, resumed)
    assert study.trials()[0].curve == ((0, 0.0), (1, 1.0), (2, 2.0))


def rising_then_falling(values: dict[str, Value], report: Report) -> Outcome:
    for epoch, value in enumerate((1.0, 3.0, 2.0)):
        report(epoch, value)
    return Outcome("run")


@pytest.mark.parametrize(
    ("mode", "keeps", "value"),
    [("max", "best", 3), ("max", "last", 2), ("min", "best", 1), ("min", "last", 2)],
)
def test_the_value_of_a_trial_is_that_of_the_epoch_whose_weights_are_kept(
    tmp_path: Path, mode: str, keeps: str, value: float
) -> None:
    space = SPACE.model_copy(update={"mode": mode, "keeps": keeps})
    study = open_study(tmp_path, info(1, space=space))
    search(study.path, rising_then_falling)
    assert study.trials()[0].value == value


def test_a_choice_of_one_is_what_every_trial_has_and_explains_nothing(tmp_path: Path) -> None:
    space = SPACE.model_copy(update={"parameters": {**SPACE.parameters, "kind": Choice(of=("b",))}})
    study = open_study(tmp_path, info(12, space=space))
    search(study.path)
    assert {t.values["kind"] for t in study.trials()} == {"b"}
    assert set(importances(study)) == {"x", "n"}


def test_importances_name_what_matters(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(30))
    search(study.path)
    shares = importances(study)
    assert next(iter(shares)) == "x"
    assert sum(shares.values()) == pytest.approx(1)


def test_the_best_values_become_a_preset(tmp_path: Path) -> None:
    import yaml

    study = open_study(tmp_path, info(3))
    study.write(TrialRecord(number=0, values={"gat.hidden": 48}, state="complete", value=0.5))
    study.write(TrialRecord(number=1, values={"gat.hidden": 16}, state="pruned", value=0.1))
    path = study.write_best({"variants": {"only": {"scale": "small"}, "teacher": {"scale": "large"}}})
    assert path is not None
    assert yaml.safe_load(path.read_text()) == {
        "variants": {"only": {"scale": "small", "gat": {"hidden": 48}}, "teacher": {"scale": "large"}}
    }


@pytest.mark.slow
def test_several_workers_share_the_trials_without_losing_or_repeating_one(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(30))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=search, args=(study.path, slow, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LIMIT_S)
        assert worker.exitcode == 0
    trials = study.trials()
    assert len(trials) == 30
    assert all(t.state == "complete" for t in trials)
    assert len({tuple(t.values.items()) for t in trials}) == 30


@pytest.mark.slow
def test_killed_writers_damage_nothing_and_their_trials_are_tried_again(tmp_path: Path) -> None:
    # More than they get through, however long it takes until they are killed.
    study = open_study(tmp_path, info(1_000_000))
    context = multiprocessing.get_context("spawn")
    chance = random.Random(7)
    kills = 0
    for _ in range(4):
        pair = [context.Process(target=search, args=(study.path, slow, n)) for n in range(2)]
        for worker in pair:
            worker.start()
        done = len(study.trials())
        wait_until(lambda done=done: len(study.trials()) >= done + 2, "two trials")  # type: ignore[misc]
        time.sleep(chance.random() * 0.1)
        for worker in pair:
            assert worker.pid is not None
            kills += worker.is_alive()
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        lock = study.path / "journal.log.lock"
        lock.unlink(missing_ok=True)  # As after the grace period, which would take half a minute here.
    assert kills == 8
    wanted = len(study.trials()) + 10
    open_study(tmp_path, info(wanted))
    search_after_all_died(study.path)
    trials = study.trials()
    assert [t.state for t in trials] == ["complete"] * wanted
    counted = [t for t in open_optuna(study, info(wanted)).get_trials() if t.state.name == "COMPLETE"]
    assert len(counted) == wanted


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="must be below"):
        LogUniform(low=1, high=0.1)
    with pytest.raises(ValueError, match="no whole numbers"):
        Integer(low=3, high=3)


def test_a_trial_of_a_worker_elsewhere_is_revived_once_its_job_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can see its process from here: only the scheduler, or the worker itself, can say that it is gone."""
    from candor.flow.process import ProcessId

    def stopped(values: dict[str, Value], report: object) -> Outcome:
        raise KeyboardInterrupt

    elsewhere = ProcessId(host="node1", pid=1, started="x")
    monkeypatch.setattr(ProcessId, "current", classmethod(lambda cls: elsewhere))
    monkeypatch.setenv("CANDOR_JOB", "7_1")
    study = open_study(tmp_path, info(trials=2))
    journal = open_optuna(study, study.info())
    lost = Searcher(study, bowl)._claim(journal)
    assert lost is not None
    asked: list[tuple[str, str]] = []

    def over(job: str, host: str, began_s: float) -> bool:
        asked.append((job, host))
        return len(asked) > 1

    assert revive(study, journal, job_over=over) == 0
    assert revive(study, journal, job_over=over) == 1
    assert asked == [("7_1", "node1")] * 2
    with pytest.raises(KeyboardInterrupt):
        Searcher(study, stopped).run()
    assert revive(study, journal) == 1  # It gave its trial back; nobody had to be asked.
    Searcher(study, bowl).run()
    assert [t.state for t in study.trials()] == ["complete"] * 2


def test_a_worker_that_takes_up_again_does_not_begin_with_the_same_values(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(trials=3))
    Searcher(study, bowl).run()
    open_study(tmp_path, info(trials=6))
    Searcher(study, bowl).run()
    drawn = [tuple(sorted(t.values.items())) for t in study.trials()]
    assert len(set(drawn)) == 6
