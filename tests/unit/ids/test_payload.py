"""The payload stages on a simulated world, and in the plan."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from dynamics_kit import assert_all_windows_scored_and_forged_ones_stand_out, training_captures_alone
from tiny_world import TinyWorld, output

from candor.errors import ConfigError
from candor.flow.stage import Inputs
from candor.ids.config import PayloadConfig
from candor.ids.experiment import resolve
from candor.ids.payload import fit_payload, score_payload
from candor.ids.pipeline import plan
from candor.ids.scoring import read_scores


def run(world: TinyWorld, folder, config: PayloadConfig) -> dict[str, object]:
    inputs = {"ingest": world.ingest, "build_train": world.build_train, "build_test": world.build_test}
    fitted, scored = output(folder / "fit"), output(folder / "score")
    fit_payload(config, Inputs(inputs), fitted)
    score_payload(config, Inputs({**inputs, "payload": fitted.path}), scored)
    return {"fit": fitted.path, "score": scored.path}


@pytest.mark.parametrize("source", ["stream", "vehicle"])
def test_all_windows_are_scored_and_forged_payloads_stand_out(world: TinyWorld, tmp_path, source):
    done = run(world, tmp_path, PayloadConfig(calibration_s=8, source=source))
    scores = read_scores([done["score"] / "scores.parquet"])
    assert_all_windows_scored_and_forged_ones_stand_out(world, scores)
    causes = pl.read_parquet(done["score"] / "causes.parquet")
    assert len(causes) == len(scores)
    assert set(causes["view"]) <= {"value", "step", "agreement", ""}


def test_costs_come_from_training_windows_and_no_other_capture_is_opened(world: TinyWorld, tmp_path):
    """A world without test frames fits as well."""
    ingest = training_captures_alone(world, tmp_path / "ingest")
    out = output(tmp_path / "fit")
    inputs = Inputs({"ingest": ingest, "build_train": world.build_train})
    told = fit_payload(PayloadConfig(calibration_s=8), inputs, out)
    assert told.summary["benign_frames"] > 1000
    costs = json.loads((out.path / "costs.json").read_text())
    assert np.isfinite([v["mean_bits"] for b in costs.values() for v in b.values()]).all()


def test_the_plan_holds_the_detector_only_where_it_is_stated():
    without, _ = resolve("kd", "synthetic")
    assert not [t for t in plan(without) if "payload" in t.id]
    given, _ = resolve("kd", "synthetic", sets=["payload.calibration_s=5"])
    tasks = {t.id: t for t in plan(given)}
    assert tasks["evaluate"].inputs["scores.payload"] == "score_payload"
    assert "build_test" not in tasks["payload"].inputs.values()


def test_flows_carry_no_payload():
    given, _ = resolve("kd", "synthetic", sets=["payload.calibration_s=5"])
    flows = given.model_copy(update={"ingest": given.ingest.model_copy()})
    from candor.ids.captures.flows.config import FlowIngestConfig

    flows = flows.model_copy(update={"ingest": FlowIngestConfig.model_construct(dataset="x", domain="flow")})
    with pytest.raises(ConfigError, match="flows carry no payload"):
        plan(flows)
