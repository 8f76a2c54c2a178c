from __future__ import annotations

import time

from flow_kit import toy_plan
from toy_pipeline import NumberConfig, SumConfig

from candor.executors.batches import Batch, batches, without_pairs
from candor.flow.plan import Plan, PlannedTask, TaskSpec, render


def lanes(*seeds: int) -> Plan:
    """Per seed: first → second, which also needs the shared data; then one report of all."""
    specs = [TaskSpec("data", "number", 1, NumberConfig())]
    for seed in seeds:
        specs.append(TaskSpec(f"first.s{seed}", "first", 1, NumberConfig(value=seed), {"data": "data"}))
        inputs = {"data": "data", "first": f"first.s{seed}"}
        specs.append(TaskSpec(f"second.s{seed}", "second", 1, SumConfig(scale=seed), inputs))
    inputs = {f"score.s{s}": f"second.s{s}" for s in seeds}
    return render("lanes", [*specs, TaskSpec("report", "report", 1, SumConfig(), inputs)])


def same(task: PlannedTask) -> object:
    return task.resources


def ids(plan: Plan) -> list[str]:
    return [t.id for t in plan.tasks]


def test_seeds_become_arrays_that_follow_each_other_element_by_element() -> None:
    plan = lanes(3, 5, 7)
    data, first, second, report = batches(plan, ids(plan), alike=same)
    assert data == Batch({0: "data"})
    assert first == Batch({0: "first.s3", 1: "first.s5", 2: "first.s7"}, after=("data",))
    assert second == Batch({0: "second.s3", 1: "second.s5", 2: "second.s7"}, ("data",), ("first.s3",))
    assert report == Batch({0: "report"}, after=("second.s3", "second.s5", "second.s7"))


def test_an_element_keeps_the_index_of_its_source_when_others_are_published() -> None:
    plan = lanes(3, 5, 7)
    todo = ["first.s3", "first.s5", "first.s7", "second.s5", "second.s7"]
    _, second = batches(plan, todo, alike=same)
    assert second == Batch({1: "second.s5", 2: "second.s7"}, paired=("first.s3",))


def test_tasks_that_ask_for_other_resources_are_no_array() -> None:
    plan = lanes(3, 5)
    found = batches(plan, ids(plan), alike=lambda task: task.id.endswith("s3"))
    assert all(not b.is_array for b in found)


def test_who_waits_for_a_queued_task_waits_for_its_job() -> None:
    plan = lanes(3, 5)
    found = batches(plan, ["second.s3", "second.s5"], alike=same, queued=["first.s3", "first.s5"])
    assert found == [
        Batch({0: "second.s3"}, after=("first.s3",)),
        Batch({0: "second.s5"}, after=("first.s5",)),
    ]


def test_every_source_is_submitted_before_those_who_wait_for_it() -> None:
    for plan in (lanes(1, 2, 3), toy_plan()):
        placed: set[str] = set()
        for batch in batches(plan, ids(plan), alike=same):
            for task_id in batch.elements.values():
                assert set(plan.task(task_id).inputs.values()) <= placed
            placed |= set(batch.elements.values())
        assert placed == set(ids(plan))


def test_a_thousand_seeds_are_grouped_in_a_second() -> None:
    plan = lanes(*range(1000))
    began = time.process_time()
    assert len(batches(plan, ids(plan), alike=same)) == 4
    assert time.process_time() - began < 2


def test_where_no_job_can_wait_for_an_element_only_last_tasks_are_arrays() -> None:
    plan = lanes(3, 5)
    found = without_pairs(batches(plan, ids(plan), alike=same), plan, ids(plan), [])
    assert [b.is_array for b in found] == [False] * 6
    assert Batch({0: "second.s5"}, after=("data", "first.s5")) in found
    firsts = ["first.s3", "first.s5"]
    published = without_pairs(batches(plan, firsts, alike=same), plan, firsts, [])
    assert published == [Batch({0: "first.s3", 1: "first.s5"})]
