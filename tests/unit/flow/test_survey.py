from __future__ import annotations

from flow_kit import Kit, toy_plan

from candor.flow.survey import survey


def test_nothing_is_cached_at_first_and_everything_after_a_run(kit: Kit) -> None:
    plan = toy_plan()
    assert set(kit.states(plan).values()) == {"to run"}
    kit.run_all(plan)
    assert set(kit.states(plan).values()) == {"cached"}


def test_a_task_that_an_earlier_run_had_otherwise_is_stale_and_says_why(kit: Kit) -> None:
    kit.run_all(toy_plan())
    states = {s.task.id: s for s in survey(toy_plan(total__scale=2.0), kit.store, earlier=[toy_plan()])}
    assert (states["total"].state, states["total"].why) == ("stale", "scale: 1.0 → 2.0")
    assert states["left"].state == "cached"


def test_the_latest_earlier_plan_that_knows_the_task_explains(kit: Kit) -> None:
    earlier = [
        toy_plan(total__scale=3.0).until("left"),
        toy_plan(total__scale=4.0),
        toy_plan(total__scale=5.0),
    ]
    states = {s.task.id: s for s in survey(toy_plan(), kit.store, earlier=earlier)}
    assert states["total"].why == "scale: 4.0 → 1.0"


def test_an_earlier_plan_with_the_same_key_does_not_make_a_task_stale(kit: Kit) -> None:
    assert {s.state for s in survey(toy_plan(), kit.store, earlier=[toy_plan()])} == {"to run"}


def test_looking_changes_nothing(kit: Kit) -> None:
    survey(toy_plan(), kit.store)
    assert not kit.root.exists()
