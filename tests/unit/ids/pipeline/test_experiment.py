import pytest
from plan_kit import changed, flow_plan, joint_plan

from candor.ids import pipeline


def test_everything_that_trains_waits_for_the_audit(plan_of):
    plan = plan_of("payload.calibration_s=10", "frame_dynamics.calibration_s=10", "temporal.windows=8")
    behind = plan.dependants("audit")
    trains = (
        "autoencoder",
        "curriculum",
        "fusion",
        "score",
        "controls",
        "payload",
        "frame_dynamics",
        "temporal",
    )
    assert {t.id for t in plan.tasks if t.stage in trains} <= behind


@pytest.mark.parametrize(
    ("change", "unchanged", "rerun"),
    [
        (
            "gat.hidden=40",
            ["build_train", "autoencoder.teacher.s1"],
            ["curriculum.teacher.s1", "fusion.teacher.s1"],
        ),
        (
            "variants.student.gat.hidden=40",
            ["curriculum.teacher.s1", "score.teacher.s1"],
            ["curriculum.student.s1"],
        ),
        (
            "window.window_frames=80",
            ["ingest", "calibrate"],
            ["build_train", "build_test", "audit", "report"],
        ),
        ("frame_dynamics.calibration_s=5", ["controls", "score.teacher.s1"], ["evaluate", "report"]),
        ("evaluation.bootstrap=50", ["score.teacher.s1", "controls"], ["evaluate", "report"]),
        (
            "distillation.temperature=2.0",
            ["score.teacher.s1", "score.student.s1"],
            ["curriculum.student_kd.s1"],
        ),
        ("synthetic.seed=9", [], ["generate", "ingest", "report"]),
        ("training.device=cpu", ["curriculum.teacher.s1", "report"], []),
        ("training.threads=1", ["curriculum.teacher.s1", "report"], []),
        ("ingest.workers=1", ["ingest", "report"], []),
    ],
)
def test_a_change_reruns_exactly_what_depends_on_it(plan_of, change, unchanged, rerun):
    different = changed(plan_of(), plan_of(change))
    assert different.isdisjoint(unchanged)
    assert set(rerun) <= different


def test_every_stage_of_the_plan_has_a_function_and_a_version(plan_of, tmp_path):
    from candor.ids.stages import STAGES

    assert set(pipeline.VERSIONS) == set(STAGES)
    plans = (
        plan_of("training.batch_budget=auto", "training.device=cpu"),
        plan_of("baselines.pygod=[dominant]", "calibration_curve={}"),
        plan_of("payload.calibration_s=10", "frame_dynamics.calibration_s=10", "temporal.windows=8"),
        flow_plan(tmp_path),
        flow_plan(tmp_path, tasks=pipeline.tabular),
        joint_plan(tmp_path),
    )
    assert {"explain"} | {t.stage for plan in plans for t in plan.tasks} == set(STAGES)
