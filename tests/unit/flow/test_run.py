from __future__ import annotations

import pytest
from flow_kit import Kit, toy_plan

from candor.errors import NotFound
from candor.flow.run import find_run, list_runs


def test_the_same_plan_is_the_same_run_and_keeps_when_it_was_made(kit: Kit) -> None:
    first = kit.open(toy_plan()).info()
    again = kit.open(toy_plan()).info()
    assert (first.run, first.created) == (again.run, again.created)
    assert again.last_started > first.last_started
    assert kit.open(toy_plan()).plan() == toy_plan()


def test_runs_are_listed_latest_first_and_unreadable_ones_passed_over(kit: Kit) -> None:
    a, b = kit.open(toy_plan()), kit.open(toy_plan(left__value=2))
    assert [r.id for r, _ in list_runs(kit.root)] == [b.id, a.id]
    (b.path / "run.json").write_text("{")
    assert [r.id for r, _ in list_runs(kit.root)] == [a.id]


def test_a_run_is_found_by_name_part_or_as_the_latest(kit: Kit) -> None:
    a, b = kit.open(toy_plan()), kit.open(toy_plan(left__value=2))
    assert find_run(kit.root, a.id) == a
    assert find_run(kit.root, a.id[-8:]) == a
    assert find_run(kit.root) == b
    with pytest.raises(NotFound, match="fits several"):
        find_run(kit.root, "toy")


def test_a_missing_run_names_the_nearest(kit: Kit) -> None:
    with pytest.raises(NotFound, match="no run yet"):
        find_run(kit.root)
    run = kit.open(toy_plan())
    with pytest.raises(NotFound, match=f"Did you mean '{run.id}'"):
        find_run(kit.root, run.id[:-1] + "_")
