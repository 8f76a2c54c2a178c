from plan_kit import changed


def test_the_calibration_curve_scores_every_point_with_the_same_models(plan_of):
    plain, plan = plan_of(), plan_of("calibration_curve.calibration_s=[5,30]")
    curve = plan.task("calibration_curve")
    assert {n for n in curve.inputs if n.startswith("c5.")} == {
        "c5.specialists",
        "c5.teacher-s1",
        "c5.student_kd-s1",
        "c5.student-s1",
    }
    point = plan.task("score.student.s1.c30")
    assert point.inputs["gat"] == "curriculum.student.s1"
    assert plan.task("calibrate.c30").config["source"] == "stream"
    assert changed(plain, plan) - {"report"} == {t.id for t in plan.tasks} - {t.id for t in plain.tasks}
