"""The records of a study, whoever searches it."""

from __future__ import annotations

from pathlib import Path

from tuning_kit import info

from candor.learn.tuning.study import TrialRecord, open_study

FIRST, SECOND = {"x": 1.25, "kind": "b", "n": 3}, {"x": -0.5, "kind": "a", "n": 1}


def test_values_of_a_trial_that_was_under_way_are_kept_until_they_are_repeated(tmp_path: Path) -> None:
    """Also where the search that would repeat them is killed before it has."""
    study = open_study(tmp_path, info(3))
    study.write(TrialRecord(number=0, values=FIRST))
    study.write(TrialRecord(number=1, values=SECOND, state="complete", value=1.0))
    assert [t.values for t in study.set_aside_running()] == [FIRST]
    assert [t.number for t in study.trials()] == [1]
    assert [t.values for t in study.set_aside_running()] == [FIRST]
    again = study.claim(dict(FIRST))
    # Killed here, it is under way and set aside: that is one trial.
    assert [t.values for t in study.set_aside_running()] == [FIRST]
    again = study.claim(dict(FIRST))
    study.repeated(again.values)
    study.write(again.model_copy(update={"state": "complete", "value": 2.0}))
    assert study.set_aside_running() == []
    assert len(study.trials()) == 2


def test_a_number_that_is_free_again_loses_nobody_who_is_set_aside(tmp_path: Path) -> None:
    study = open_study(tmp_path, info(3))
    for values in (FIRST, SECOND):
        study.write(TrialRecord(number=0, values=values))
        study.set_aside_running()
    assert sorted(t.values["n"] for t in study.set_aside_running()) == [1, 3]
