"""The stages of frame dynamics on a simulated world, and in the plan."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from dynamics_kit import assert_all_windows_scored_and_forged_ones_stand_out, training_captures_alone
from tiny_world import TinyWorld, output

from candor.errors import ConfigError
from candor.flow.stage import Inputs
from candor.ids.config import FrameDynamicsConfig
from candor.ids.experiment import resolve
from candor.ids.frame_dynamics import fit_frame_dynamics, score_frame_dynamics
from candor.ids.pipeline import plan
from candor.ids.scoring import read_scores

CONFIG = FrameDynamicsConfig(calibration_s=8)


def fitted(world: TinyWorld, folder: Path) -> Path:
    out = output(folder)
    fit_frame_dynamics(CONFIG, Inputs({"ingest": world.ingest, "build_train": world.build_train}), out)
    return out.path


@pytest.fixture(scope="module")
def learned(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(world, tmp_path_factory.mktemp("fit"))


def test_it_learns_what_ids_of_training_vehicles_cost_and_of_no_other(world: TinyWorld, learned: Path):
    expected = pl.read_parquet(learned / "expected.parquet")
    catalog = pl.read_parquet(world.ingest / "catalog.parquet")
    assert set(expected["vehicle"]) == set(catalog.filter(split="train")["vehicle"])
    assert expected["frames"].min() >= 10
    assert (expected["order_mean_bits"] > 0).all()
    # Order is learned: an ID costs less than it would by chance.
    assert expected["order_mean_bits"].median() < 2.5
    assert len(json.loads((learned / "costs.json").read_text())) == 5


def test_all_windows_are_scored_and_attacks_stand_out(world: TinyWorld, learned: Path, tmp_path: Path):
    scored = output(tmp_path)
    inputs = {"ingest": world.ingest, "build_train": world.build_train, "build_test": world.build_test}
    score_frame_dynamics(CONFIG, Inputs({**inputs, "frame_dynamics": learned}), scored)
    scores = read_scores([scored.path / "scores.parquet"])
    assert_all_windows_scored_and_forged_ones_stand_out(world, scores)
    causes = pl.read_parquet(scored.path / "causes.parquet")
    assert len(causes) == len(scores)
    assert {"order"} <= set(causes["view"]) <= {"value", "step", "agreement", "order", ""}


def test_what_it_learns_comes_from_training_windows_and_no_other_capture_is_opened(
    world: TinyWorld, learned: Path, tmp_path: Path
):
    """A world without test frames gives the same."""
    ingest = training_captures_alone(world, tmp_path / "ingest")
    bare = TinyWorld(ingest, tmp_path, world.build_train, tmp_path / "nothing")
    again = fitted(bare, tmp_path / "fit")
    for name in ("costs.json", "expected.parquet"):
        assert (again / name).read_bytes() == (learned / name).read_bytes()


def test_the_plan_holds_the_detector_only_where_it_is_stated():
    without, _ = resolve("kd", "synthetic")
    assert not [t for t in plan(without) if "frame_dynamics" in t.id]
    given, _ = resolve("kd", "synthetic", sets=["frame_dynamics.calibration_s=5"])
    tasks = {t.id: t for t in plan(given)}
    assert tasks["evaluate"].inputs["scores.frame_dynamics"] == "score_frame_dynamics"
    assert "frame_dynamics" in tasks["report"].config.headline
    assert "build_test" not in tasks["frame_dynamics"].inputs.values()
    assert "payload" not in tasks


def test_flows_have_no_frames():
    from candor.ids.captures.flows.config import FlowIngestConfig

    given, _ = resolve("kd", "synthetic", sets=["frame_dynamics.calibration_s=5"])
    flows = given.model_copy(update={"ingest": FlowIngestConfig.model_construct(dataset="x", domain="flow")})
    with pytest.raises(ConfigError, match="frame dynamics are for captures of a bus"):
        plan(flows)
