import pytest
from plan_kit import changed

from candor.errors import ConfigError


def test_no_training_task_is_given_a_test_window(plan_of):
    plan = plan_of("temporal.windows=4")
    for task in plan.tasks:
        if task.stage in ("autoencoder", "curriculum", "fusion", "temporal"):
            above = set(task.inputs.values())
            assert "build_test" not in above
            assert "ingest" not in above
            assert not any(i.startswith(("score", "evaluate")) for i in above)
    assert plan.task("build_train").config["splits"] == ["train", "val"]


def test_students_come_after_the_teacher_they_learn_from(plan_of):
    plan = plan_of()
    assert plan.task("autoencoder.student_kd.s1").inputs["teacher"] == "autoencoder.teacher.s1"
    assert plan.task("curriculum.student_kd.s1").inputs["teacher"] == "curriculum.teacher.s1"
    assert "teacher" not in plan.task("curriculum.student.s1").inputs


def test_a_distilled_variant_is_compared_with_the_same_model_alone(plan_of):
    assert plan_of().task("evaluate").config["compare"] == [["student_kd", "student"]]
    other = plan_of("variants.student.gat.hidden=40").task("evaluate")
    assert other.config["compare"] == []


def test_a_seed_is_a_lane_of_its_own_over_common_data(plan_of):
    one, three = plan_of(seeds=[1]), plan_of(seeds=[1, 2, 3])
    assert changed(one, three) == {t.id for t in three.tasks if t.id.endswith((".s2", ".s3"))} | {
        "evaluate",
        "report",
    }


def test_teachers_that_form_a_circle_or_do_not_exist_are_refused(plan_of):
    with pytest.raises(ConfigError, match="no variant that is trained before it"):
        plan_of("variants.teacher.teacher=student_kd")
    with pytest.raises(ConfigError, match="'nobody'"):
        plan_of("variants.student.teacher=nobody")
