from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flow_kit import toy_plan
from hypothesis import given
from hypothesis import strategies as st
from toy_pipeline import NumberConfig, SumConfig

from candor.errors import ConfigError, NotFound
from candor.flow.plan import Plan, Resources, TaskSpec, read_plan, render


def changed(old: Plan, new: Plan) -> set[str]:
    keys = {t.id: t.key for t in old.tasks}
    return {t.id for t in new.tasks if keys[t.id] != t.key}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"left__value": 7}, {"left", "total", "report"}),
        ({"right__steps": 9}, {"right", "total", "report"}),
        ({"total__scale": 3.0}, {"total", "report"}),
        ({"report__title": "x"}, {"report"}),
        ({"left__workers": 8}, set()),
    ],
)
def test_a_changed_field_changes_exactly_the_keys_that_depend_on_it(
    change: dict[str, Any], expected: set[str]
) -> None:
    assert changed(toy_plan(), toy_plan(**change)) == expected


@given(st.integers(), st.integers(), st.integers(min_value=0), st.integers(min_value=0))
def test_keys_are_equal_exactly_if_the_science_is(a: int, b: int, workers_a: int, workers_b: int) -> None:
    one, two = (
        toy_plan(left__value=a, left__workers=workers_a),
        toy_plan(left__value=b, left__workers=workers_b),
    )
    assert (one.task("report").key == two.task("report").key) == (a == b)
    assert (one.run_id == two.run_id) == (a == b)


def test_a_new_stage_version_changes_every_downstream_key() -> None:
    def plan(version: int) -> Plan:
        return render(
            "p", [TaskSpec("a", "s", version, NumberConfig()), TaskSpec("b", "t", 1, SumConfig(), {"x": "a"})]
        )

    assert changed(plan(1), plan(2)) == {"a", "b"}


def test_resources_and_task_names_do_not_enter_the_key() -> None:
    one = render("p", [TaskSpec("a", "s", 1, NumberConfig())])
    two = render("p", [TaskSpec("b", "s", 1, NumberConfig(), resources=Resources(cpus=8, gpus=1))])
    assert one.task("a").key == two.task("b").key


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2])
def test_a_task_may_share_a_gpu_or_have_whole_ones(gpus: float) -> None:
    assert Resources(gpus=gpus).gpus == gpus


@pytest.mark.parametrize("gpus", [-1, 1.5])
def test_a_gpu_and_a_half_is_refused(gpus: float) -> None:
    with pytest.raises(ValueError, match="gpus"):
        Resources(gpus=gpus)


def test_the_name_an_input_is_read_by_enters_the_key() -> None:
    def key(name: str) -> str:
        return (
            render(
                "p", [TaskSpec("a", "s", 1, NumberConfig()), TaskSpec("b", "t", 1, SumConfig(), {name: "a"})]
            )
            .task("b")
            .key
        )

    assert key("x") != key("y")


def test_tasks_are_ordered_so_that_inputs_come_first() -> None:
    config = NumberConfig()
    specs = [
        TaskSpec("c", "s", 1, config, {"x": "b"}),
        TaskSpec("b", "s", 1, config, {"x": "a"}),
        TaskSpec("a", "s", 1, config),
    ]
    assert [t.id for t in render("p", specs).tasks] == ["a", "b", "c"]


def test_independent_tasks_keep_the_declared_order() -> None:
    assert [t.id for t in toy_plan().tasks] == ["left", "right", "total", "report"]


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = toy_plan(left__value=3)
    plan.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 1'])
def test_a_file_that_is_no_plan_is_told_apart(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match="not a plan"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(NotFound):
        read_plan(tmp_path / "none.json")


def test_a_cycle_is_named() -> None:
    config = NumberConfig()
    with pytest.raises(ConfigError, match="circle"):
        render("p", [TaskSpec("a", "s", 1, config, {"x": "b"}), TaskSpec("b", "s", 1, config, {"x": "a"})])


def test_a_missing_input_names_the_nearest_task() -> None:
    config = NumberConfig()
    with pytest.raises(ConfigError, match=r"comes from 'ingst'.*Did you mean 'ingest'"):
        render("p", [TaskSpec("ingest", "s", 1, config), TaskSpec("b", "s", 1, config, {"x": "ingst"})])


def test_a_duplicate_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="two tasks are called 'a'"):
        render("p", [TaskSpec("a", "s", 1, NumberConfig())] * 2)


@pytest.mark.parametrize("task_id", ["../x", "a/b", "", ".hidden", "a b"])
def test_a_task_id_that_cannot_name_a_folder_is_refused(task_id: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        render("p", [TaskSpec(task_id, "s", 1, NumberConfig())])


@pytest.mark.parametrize(
    ("until", "kept"),
    [("number", ["left", "right"]), ("total", ["left", "right", "total"]), ("left", ["left"])],
)
def test_until_keeps_a_stage_or_task_and_what_it_needs(until: str, kept: list[str]) -> None:
    assert [t.id for t in toy_plan().until(until).tasks] == kept


def test_until_keeps_keys_and_names_another_run() -> None:
    plan = toy_plan()
    assert plan.until("left").task("left").key == plan.task("left").key
    assert plan.until("left").run_id != plan.run_id
    assert plan.until("report") == plan


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="Did you mean 'total'"):
        toy_plan().until("totl")
    with pytest.raises(NotFound, match="Did you mean 'report'"):
        toy_plan().task("reprot")


def test_a_changed_copy_of_a_plan_knows_its_own_tasks() -> None:
    plan = toy_plan()
    assert plan.task("report").id == "report"
    copy = plan.model_copy(update={"tasks": plan.tasks[:2]})
    assert copy.find("report") is None
    assert copy.task("left") == plan.task("left")
    assert plan == toy_plan()


def test_dependants_are_found_across_steps() -> None:
    assert toy_plan().dependants("left") == {"total", "report"}
    assert toy_plan().dependants("report") == set()


def test_a_run_name_is_safe_as_a_folder_whatever_the_pipeline_is_called() -> None:
    assert "/" not in render("a/../b c", [TaskSpec("a", "s", 1, NumberConfig())]).run_id
