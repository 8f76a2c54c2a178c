import pytest
from plan_kit import changed, config_in, flow_plan

from candor.errors import ConfigError
from candor.flow.plan import render
from candor.ids import pipeline


def test_detectors_of_pygod_are_trained_only_where_they_are_asked_for(plan_of):
    assert "baselines_pygod" not in {t.id for t in plan_of().tasks}
    asked = plan_of("baselines.pygod=[dominant]")
    assert "scores.baselines_pygod" in asked.task("evaluate").inputs


def test_single_flows_are_judged_on_the_ingest_of_a_run_and_no_graph(tmp_path):
    plan, bare = flow_plan(tmp_path), flow_plan(tmp_path, tasks=pipeline.tabular)
    assert [t.stage for t in bare.tasks] == ["ingest_flows", "audit_flows", "tabular_flows"]
    assert bare.task("ingest").key == plan.task("ingest").key
    fewer = flow_plan(tmp_path, "baselines.learned=[boosted_trees,transitions]", tasks=pipeline.tabular)
    assert fewer.task("tabular").config["learned"] == ["boosted_trees"]
    assert bare.task("tabular").inputs["audit"] == "audit"  # Nothing is trained before the gate.


def test_only_sequences_longer_than_a_pair_are_read_from_frames(tmp_path):

    def inputs(*sets):
        config = config_in(tmp_path, *sets)
        return render("x", pipeline.plan(config)).task("baselines").inputs

    assert "ingest" not in inputs()
    assert inputs("baselines.ngram_order=3")["ingest"] == "ingest"
    assert "ingest" not in inputs("baselines.ngram_order=3", "baselines.learned=[boosted_trees]")
    flows = flow_plan(tmp_path, "baselines.ngram_order=3")
    assert "ingest" not in flows.task("baselines").inputs


def test_a_bus_has_no_single_flows(tmp_path):
    config = config_in(tmp_path)
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
