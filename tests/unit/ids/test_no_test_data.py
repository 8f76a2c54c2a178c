"""Training, calibration and thresholds never open test captures: everything runs where there are none."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_world import SPLIT, WINDOW, Rows, TinyWorld, output

from candor.flow.stage import Inputs, Stage
from candor.ids import controls
from candor.ids.baselines.learned import fit
from candor.ids.baselines.outliers import Outliers
from candor.ids.config import (
    AutoencoderTask,
    BaselinesConfig,
    CalibrationTask,
    CurriculumConfig,
    CurriculumTask,
    DqnConfig,
    EvaluationConfig,
    FrameDynamicsConfig,
    FusionTask,
    GatConfig,
    GraphConfig,
    JointTask,
    PayloadConfig,
    TemporalConfig,
    TemporalTask,
    TrainingConfig,
    UnionConfig,
    VgaeConfig,
)
from candor.ids.evaluation.stage import evaluate
from candor.ids.frame_dynamics import fit_frame_dynamics
from candor.ids.graphs.builder import build
from candor.ids.graphs.calibration import calibrate
from candor.ids.graphs.store import GraphStore
from candor.ids.joint import train_joint
from candor.ids.payload import fit_payload
from candor.ids.scoring import score_frame, window_rows
from candor.ids.temporal import train_temporal
from candor.ids.training import train_autoencoder, train_curriculum, train_fusion

TRAINING = TrainingConfig(max_epochs=1, threads=1, device="cpu")
SMALL = {"hidden": 8, "layers": 1}

_opened: set[str] | None = None


def _hear(event: str, given: tuple[object, ...]) -> None:
    if _opened is not None and event == "open" and isinstance(given[0], str | bytes | Path):
        path = given[0].decode() if isinstance(given[0], bytes) else str(given[0])
        _opened.add(path)


sys.addaudithook(_hear)  # Cannot be taken away again, so there is one, which listens only when asked.


@contextmanager
def opened() -> Iterator[set[str]]:
    """Paths that Python opens meanwhile. Polars opens files by itself: those are simply not there in these tests."""
    global _opened
    _opened = set()
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture(scope="module")
def bare(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    """The world without a test capture and without a test graph."""
    root = tmp_path_factory.mktemp("bare")
    for name in ("ingest", "calibrate", "build_train"):
        shutil.copytree(getattr(world, name), root / name)
    for capture in test_captures(world):
        (root / "ingest" / "frames" / f"{capture}.parquet").unlink()
    return TinyWorld(root / "ingest", root / "calibrate", root / "build_train", root / "nothing")


def test_captures(world: TinyWorld) -> list[str]:
    catalog = pl.read_parquet(world.ingest / "catalog.parquet")
    return catalog.filter(split="test")["capture"].to_list()


test_captures.__test__ = False  # type: ignore[attr-defined]


def same_files(one: Path, other: Path) -> bool:
    names = [p.relative_to(one) for p in sorted(one.rglob("*")) if p.is_file()]
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in names)


def test_training_graphs_are_built_where_no_test_capture_exists(bare: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path)
    config = GraphConfig(splits=("train", "val"), window=WINDOW, split=SPLIT)
    build(config, Inputs({"ingest": bare.ingest, "calibrate": bare.calibrate}), out)
    assert same_files(out.path, bare.build_train)


def test_everything_that_trains_runs_where_no_test_graph_exists(
    world: TinyWorld, bare: TinyWorld, tmp_path: Path
) -> None:
    graphs = {"build_train": bare.build_train}
    with opened() as heard:
        told = Rows()
        vgae, gat, fusion = (output(tmp_path / name, told) for name in ("vgae", "gat", "fusion"))
        model = VgaeConfig.model_validate({**SMALL, "latent": 4})
        train_autoencoder(AutoencoderTask(model=model, training=TRAINING, seed=1), Inputs(graphs), vgae)
        lane = {**graphs, "vgae": vgae.path}
        task = CurriculumTask(
            model=GatConfig.model_validate(SMALL), training=TRAINING, curriculum=CurriculumConfig(), seed=1
        )
        train_curriculum(task, Inputs(lane), gat)
        policy = FusionTask(model=DqnConfig(episodes=1), training=TRAINING, seed=1)
        train_fusion(policy, Inputs({**lane, "gat": gat.path}), fusion)
        sequences = TemporalTask(model=TemporalConfig(windows=2, hidden=8), training=TRAINING, seed=1)
        train_temporal(sequences, Inputs(lane), output(tmp_path / "temporal"))
        joint = JointTask(
            model=GatConfig.model_validate(SMALL), training=TRAINING, domains=("a", "b"), seed=1
        )
        both = {f"build_train.{name}": bare.build_train for name in joint.domains}
        train_joint(joint, Inputs(both), output(tmp_path / "joint"))
    assert len(told.curve("val_reward", "episode")) == 1
    assert any(str(bare.build_train) in path for path in heard)
    assert not any(str(world.build_test) in path for path in heard)
    assert not any(capture in path for path in heard for capture in test_captures(world))


def test_controls_and_baselines_learn_where_no_test_capture_exists(bare: TinyWorld) -> None:
    known = controls.fit(bare.build_train / "train", bare.ingest / "frames")
    assert len(known.ids)
    config = BaselinesConfig(boosting_rounds=5, forest_trees=5, pygod_windows=8, pygod_epochs=1)
    for kind in ("boosted_trees", "isolation_forest", "transitions"):
        assert np.isfinite(fit(kind, config, bare.build_train).score(bare.build_train / "val")).all()
    longer = fit("transitions", BaselinesConfig(ngram_order=3), bare.build_train, bare.ingest / "frames")
    assert np.isfinite(longer.score(bare.build_train / "val")).all()
    pytest.importorskip("pygod")
    Outliers("ocgnn", config, bare.build_train).fit(
        GraphStore.open(bare.build_train / "train"), lambda done: None
    )


@pytest.mark.parametrize(
    ("learn", "config"),
    [
        (fit_payload, PayloadConfig(calibration_s=2)),
        (fit_frame_dynamics, FrameDynamicsConfig(calibration_s=2)),
    ],
)
def test_detectors_of_frames_learn_where_no_test_capture_exists(
    bare: TinyWorld, tmp_path: Path, learn: Stage, config: object
) -> None:
    graphs = {"ingest": bare.ingest, "build_train": bare.build_train}
    assert learn(config, Inputs(graphs), output(tmp_path)).summary["benign_frames"]


def test_a_vehicles_profile_comes_from_training_captures_and_no_label_of_a_frame_moves_any(
    world: TinyWorld, tmp_path: Path
) -> None:
    """Test captures are calibrated on their own first seconds, as where a detector is deployed: without labels."""
    folder = tmp_path / "ingest"
    shutil.copytree(world.ingest, folder)
    for path in (folder / "frames").glob("*.parquet"):
        df = pl.read_parquet(path)
        if path.stem in test_captures(world):  # Other traffic, so that a profile that saw it would differ.
            df = df.with_columns(pl.col("timestamp") * 3, id=(pl.col("id") + 1).cast(df.schema["id"]))
        df = df.with_columns(label=pl.lit(0).cast(df.schema["label"]), attack=pl.lit(""))
        df.write_parquet(path)
    out = output(tmp_path / "calibrate")
    calibrate(CalibrationTask(calibration_s=8, split=SPLIT), Inputs({"ingest": folder}), out)
    ours = {p.name: p for p in (out.path / "profiles").glob("*.parquet")}
    for path in (world.calibrate / "profiles").glob("*.parquet"):
        of_test = any(path.stem == f"stream-{c}" for c in test_captures(world))
        assert pl.read_parquet(path).equals(pl.read_parquet(ours[path.name])) != of_test


def test_thresholds_budgets_and_rates_are_the_same_whatever_test_windows_are_like(
    world: TinyWorld, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    val, test = window_rows(world.build_train / "val", "val"), window_rows(world.build_test / "test", "test")
    frames = []
    for name in ("novelty", "early"):
        parts = [
            score_frame(val, rng.random(len(val)) + val["y"].to_numpy(), detector=name, variant="specialist")
        ]
        parts.append(score_frame(test, rng.random(len(test)), detector=name, variant="specialist"))
        frames.append(pl.concat(parts))
    whole = pl.concat(frames)
    is_test = pl.col("split") == "test"
    other = whole.with_columns(
        pl.when(is_test).then(100 - pl.col("score")).otherwise("score").alias("score"),
        pl.when(is_test).then(1 - pl.col("y")).otherwise("y").cast(pl.UInt8).alias("y"),
    )
    config = EvaluationConfig(bootstrap=2, unions=(UnionConfig(name="or", members=("novelty", "early")),))
    chosen = []
    for name, table in (("a", whole), ("b", other)):
        (tmp_path / name).mkdir()
        table.write_parquet(tmp_path / name / "scores.parquet")
        out = output(tmp_path / f"{name}-out")
        inputs = Inputs(
            {"scores.x": tmp_path / name, "ingest": world.ingest, "build_train": world.build_train}
        )
        evaluate(config, inputs, out)
        chosen.append([(out.path / n).read_bytes() for n in ("thresholds.json", "unions.json")])
    assert chosen[0] == chosen[1]
