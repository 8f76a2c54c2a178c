from __future__ import annotations

from flow_kit import toy_plan
from toy_pipeline import NumberConfig

from candor.flow.drift import ABSENT, FieldChange, diff_configs, explain
from candor.flow.plan import TaskSpec, render


def test_a_change_is_explained_at_its_task_and_passed_on_as_a_changed_input() -> None:
    drifts = {d.task: d for d in explain(toy_plan(), toy_plan(left__value=5))}
    assert drifts["left"].fields == (FieldChange("value", 1, 5),)
    assert drifts["left"].why == "value: 1 → 5"
    assert drifts["right"].status == "same"
    assert drifts["total"].inputs == ("number.left",)
    assert drifts["report"].why == "input total changed"


def test_a_new_stage_version_is_a_reason() -> None:
    old = render("p", [TaskSpec("a", "s", 1, NumberConfig())])
    new = render("p", [TaskSpec("a", "s", 2, NumberConfig())])
    assert explain(old, new)[0].why == "stage version: 1 → 2"


def test_tasks_that_only_one_plan_has_are_new_or_removed() -> None:
    one = render("p", [TaskSpec("a", "s", 1, NumberConfig())])
    two = render("p", [TaskSpec("b", "s", 1, NumberConfig())])
    assert [(d.task, d.status) for d in explain(one, two)] == [("b", "new"), ("a", "removed")]


def test_configs_differ_by_dotted_leaves() -> None:
    old = {"a": {"b": 1, "c": [1]}, "gone": 1, "same": {}}
    new = {"a": {"b": 2, "c": [1]}, "more": {"x": None}, "same": {}}
    assert diff_configs(old, new) == [
        FieldChange("a.b", 1, 2),
        FieldChange("more.x", ABSENT, None),
        FieldChange("gone", 1, ABSENT),
    ]


def test_runtime_fields_are_no_drift() -> None:
    assert all(d.status == "same" for d in explain(toy_plan(), toy_plan(left__workers=9)))
