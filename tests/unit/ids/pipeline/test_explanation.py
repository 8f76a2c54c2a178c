import pytest
from plan_kit import config_in

from candor.errors import ConfigError
from candor.flow.plan import render
from candor.ids import pipeline
from candor.ids.config import ExplainTask


def test_an_explanation_reads_the_models_of_its_own_lane(tmp_path):
    config = config_in(tmp_path)
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
    with_payload = config_in(tmp_path, "payload.calibration_s=10")
    task = render("x", pipeline.with_explanation(with_payload, by_payload)).task("explain")
    assert (task.config["variant"], task.inputs["score_payload"]) == ("label_free", "score_payload")
    assert "gat" not in task.inputs
    by_frames = other.model_copy(update={"detector": "frame_dynamics"})
    with pytest.raises(ConfigError, match="no frame_dynamics detector"):
        pipeline.with_explanation(with_payload, by_frames)
    with_frames = config_in(tmp_path, "frame_dynamics.calibration_s=10")
    task = render("x", pipeline.with_explanation(with_frames, by_frames)).task("explain")
    assert task.inputs["score_frame_dynamics"] == "score_frame_dynamics"
    stated = config_in(tmp_path, "temporal.windows=4")
    specs = pipeline.with_explanation(stated, other)
    assert render("x", specs).task("explain").inputs["temporal"] == "temporal.student_kd.s1"
