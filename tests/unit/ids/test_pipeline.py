import pytest

from candor.config.settings import Settings
from candor.errors import ConfigError
from candor.flow.plan import render
from candor.ids import joint_pipeline, pipeline
from candor.ids.config import ExplainTask
from candor.ids.experiment import resolve


@pytest.fixture
def plan_of(tmp_path):
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)

    def make(*sets, seeds=None):
        config, _ = resolve("kd", "synthetic", sets, seeds, settings=settings)
        return render("kd-synthetic", pipeline.plan(config))

    return make


def changed(before, after):
    """Stages and IDs whose key differs."""
    keys = {t.id: t.key for t in before.tasks}
    return {t.id for t in after.tasks if keys.get(t.id) != t.key}


def test_no_training_task_is_given_a_test_window(plan_of):
    plan = plan_of("temporal.windows=4")
    for task in plan.tasks:
        if task.stage in ("autoencoder", "curriculum", "fusion", "temporal"):
            above = set(task.inputs.values())
            assert "build_test" not in above
            assert "ingest" not in above
            assert not any(i.startswith(("score", "evaluate")) for i in above)
    assert plan.task("build_train").config["splits"] == ["train", "val"]


def test_everything_that_trains_waits_for_the_audit(plan_of):
    plan = plan_of("payload.calibration_s=10", "temporal.windows=8")
    behind = plan.dependants("audit")
    trains = ("autoencoder", "curriculum", "fusion", "score", "controls", "payload", "temporal")
    assert {t.id for t in plan.tasks if t.stage in trains} <= behind


def test_students_come_after_the_teacher_they_learn_from(plan_of):
    plan = plan_of()
    assert plan.task("autoencoder.student_kd.s1").inputs["teacher"] == "autoencoder.teacher.s1"
    assert plan.task("curriculum.student_kd.s1").inputs["teacher"] == "curriculum.teacher.s1"
    assert "teacher" not in plan.task("curriculum.student.s1").inputs


def test_a_distilled_variant_is_compared_with_the_same_model_alone(plan_of):
    assert plan_of().task("evaluate").config["compare"] == [["student_kd", "student"]]
    other = plan_of("variants.student.gat.hidden=40").task("evaluate")
    assert other.config["compare"] == []


def test_detectors_of_pygod_are_trained_only_where_they_are_asked_for(plan_of):
    assert "baselines_pygod" not in {t.id for t in plan_of().tasks}
    asked = plan_of("baselines.pygod=[dominant]")
    assert "scores.baselines_pygod" in asked.task("evaluate").inputs


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


def test_an_explanation_reads_the_models_of_its_own_lane(tmp_path):
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)
    config, _ = resolve("kd", "synthetic", settings=settings)
    specs = pipeline.with_explanation(config, ExplainTask(variant="student_kd", seed=1))
    assert render("x", specs).task("explain").inputs["gat"] == "curriculum.student_kd.s1"
    for wrong in (ExplainTask(variant="student_kd", seed=9), ExplainTask(variant="pupil", seed=1)):
        with pytest.raises(ConfigError, match="teacher, student_kd, student"):
            pipeline.with_explanation(config, wrong)
    other = ExplainTask(variant="student_kd", seed=1, detector="temporal")
    with pytest.raises(ConfigError, match="has no temporal detector"):
        pipeline.with_explanation(config, other)
    with pytest.raises(ConfigError, match="none of the detectors that can be explained"):
        pipeline.with_explanation(config, other.model_copy(update={"detector": "novelty"}))
    with pytest.raises(ConfigError, match="Of its members explained: vgae"):
        pipeline.with_explanation(config, other.model_copy(update={"detector": "unsupervised_or"}))
    by_payload = other.model_copy(update={"detector": "payload"})
    with pytest.raises(ConfigError, match="no payload detector"):
        pipeline.with_explanation(config, by_payload)
    with_payload, _ = resolve("kd", "synthetic", sets=["payload.calibration_s=10"], settings=settings)
    task = render("x", pipeline.with_explanation(with_payload, by_payload)).task("explain")
    assert (task.config["variant"], task.inputs["score_payload"]) == ("label_free", "score_payload")
    assert "gat" not in task.inputs
    stated, _ = resolve("kd", "synthetic", sets=["temporal.windows=4"], settings=settings)
    specs = pipeline.with_explanation(stated, other)
    assert render("x", specs).task("explain").inputs["temporal"] == "temporal.student_kd.s1"


def test_a_seed_is_a_lane_of_its_own_over_common_data(plan_of):
    one, three = plan_of(seeds=[1]), plan_of(seeds=[1, 2, 3])
    assert changed(one, three) == {t.id for t in three.tasks if t.id.endswith((".s2", ".s3"))} | {
        "evaluate",
        "report",
    }


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


def test_teachers_that_form_a_circle_or_do_not_exist_are_refused(plan_of):
    with pytest.raises(ConfigError, match="no variant that is trained before it"):
        plan_of("variants.teacher.teacher=student_kd")
    with pytest.raises(ConfigError, match="'nobody'"):
        plan_of("variants.student.teacher=nobody")


def test_every_stage_of_the_plan_has_a_function_and_a_version(plan_of, tmp_path):
    from candor.ids.stages import STAGES

    assert set(pipeline.VERSIONS) == set(STAGES)
    plans = (
        plan_of("training.batch_budget=auto", "training.device=cpu"),
        plan_of("baselines.pygod=[dominant]", "calibration_curve={}"),
        plan_of("payload.calibration_s=10", "temporal.windows=8"),
        flow_plan(tmp_path),
        flow_plan(tmp_path, tasks=pipeline.tabular),
        joint_plan(tmp_path),
    )
    assert {"explain"} | {t.stage for plan in plans for t in plan.tasks} == set(STAGES)


def flow_plan(tmp_path, *sets, tasks=pipeline.plan):
    folder = tmp_path / "data" / "unsw_nb15"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "UNSW-NB15_1_first1000_with_header.csv").write_text("x")
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)
    config, _ = resolve("kd", "unsw_nb15", sets, settings=settings)
    return render("kd-unsw_nb15", tasks(config))


def joint_plan(tmp_path, *sets, names=("synthetic", "unsw_nb15"), variant="student"):
    flow_plan(tmp_path)  # Lays the files of the network down.
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)
    configs = {name: resolve("kd", name, sets, settings=settings)[0] for name in names}
    return render("joint", joint_pipeline.plan(configs, variant))


def test_one_classifier_for_two_domains_shares_their_graphs_and_keeps_their_tables_apart(tmp_path, plan_of):
    plan = joint_plan(tmp_path)
    assert plan.task("synthetic.build_train").key == plan_of().task("build_train").key
    both = plan.task("joint.s1").inputs
    assert {both["build_train.synthetic"], both["build_train.unsw_nb15"]} == {
        "synthetic.build_train",
        "unsw_nb15.build_train",
    }
    assert both["audit.unsw_nb15"] == "unsw_nb15.audit"  # Nothing is trained before both gates.
    assert not any("build_test" in source for source in both.values())
    assert list(plan.task("synthetic.alone.s1").inputs) == ["build_train.synthetic", "audit.synthetic"]
    judged = plan.task("unsw_nb15.evaluate")
    assert judged.config["compare"] == [["joint", "alone"]]
    assert {name for name in judged.inputs if name.startswith("scores.")} == {
        "scores.joint.s1",
        "scores.alone.s1",
    }


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"names": ("synthetic",)}, "no two domains"),
        ({"variant": "pupil"}, "no variant 'pupil' on synthetic"),
    ],
)
def test_what_cannot_be_one_classifier_is_refused(tmp_path, asked, says):
    with pytest.raises(ConfigError, match=says):
        joint_plan(tmp_path, **asked)
    with pytest.raises(ConfigError, match="a batch budget is found for one data set"):
        joint_plan(tmp_path, "training.batch_budget=auto")


def test_single_flows_are_judged_on_the_ingest_of_a_run_and_no_graph(tmp_path):
    plan, bare = flow_plan(tmp_path), flow_plan(tmp_path, tasks=pipeline.tabular)
    assert [t.stage for t in bare.tasks] == ["ingest_flows", "audit_flows", "tabular_flows"]
    assert bare.task("ingest").key == plan.task("ingest").key
    fewer = flow_plan(tmp_path, "baselines.learned=[boosted_trees,transitions]", tasks=pipeline.tabular)
    assert fewer.task("tabular").config["learned"] == ["boosted_trees"]
    assert bare.task("tabular").inputs["audit"] == "audit"  # Nothing is trained before the gate.


def test_only_sequences_longer_than_a_pair_are_read_from_frames(tmp_path):
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)

    def inputs(*sets):
        config, _ = resolve("kd", "synthetic", sets, None, settings=settings)
        return render("x", pipeline.plan(config)).task("baselines").inputs

    assert "ingest" not in inputs()
    assert inputs("baselines.ngram_order=3")["ingest"] == "ingest"
    assert "ingest" not in inputs("baselines.ngram_order=3", "baselines.learned=[boosted_trees]")
    flows = flow_plan(tmp_path, "baselines.ngram_order=3")
    assert "ingest" not in flows.task("baselines").inputs


def test_a_bus_has_no_single_flows(tmp_path):
    settings = Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)
    config, _ = resolve("kd", "synthetic", (), None, settings=settings)
    with pytest.raises(ConfigError, match="'synthetic' is a bus"):
        pipeline.tabular(config)


def test_flows_take_the_same_way_with_stages_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CANDOR_SHARED_DATA", str(tmp_path / "nowhere"))
    plan = flow_plan(tmp_path)
    assert plan.task("ingest").stage == "ingest_flows"
    assert "calibrate" not in {t.id for t in plan.tasks}
    assert plan.task("fusion.teacher.s1").config["model"]["unfamiliar_alarm_rate"] == 0.0
    for task in plan.tasks:
        if task.stage in ("autoencoder", "curriculum", "fusion"):
            assert not {"build_test", "ingest"} & set(task.inputs.values())
            assert task.id in plan.dependants("audit")


def test_windows_of_seconds_replace_those_of_flows(tmp_path):
    plan = flow_plan(tmp_path, "window.window_s=10", "window.stride_s=5")
    for task in ("build_train", "build_test", "audit"):
        assert plan.task(task).config["window"] == {"window_s": 10.0, "stride_s": 5.0}


def test_the_seed_of_the_pseudonyms_is_science(tmp_path):
    assert "ingest" in changed(flow_plan(tmp_path), flow_plan(tmp_path, "ingest.host_seed=1"))
