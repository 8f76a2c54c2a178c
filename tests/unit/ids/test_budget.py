"""The budget stage, the tasks that ask for it, and the names a person may use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import TinyWorld, output
from training_kit import untrained_vgae

from candor.errors import ConfigError, NotFound
from candor.flow.plan import TaskSpec
from candor.flow.stage import Inputs
from candor.ids import budget as budget_module
from candor.ids.budget import Steps, _Spec, budget, with_budget
from candor.ids.config import (
    BudgetConfig,
    BudgetTask,
    DistillationConfig,
    ExperimentConfig,
    GatConfig,
    TemporalConfig,
    TemporalTask,
    TrainingConfig,
    VgaeConfig,
)
from candor.ids.pipeline import plan
from candor.ids.samples import Samples
from candor.ids.targets import Target, choose
from candor.ids.temporal import train_temporal
from candor.ids.training import train_autoencoder
from candor.learn.batching import GraphBatch
from candor.learn.budget import Probed


def task(**changes: object) -> BudgetTask:
    values = {"scale": "small", "model": VgaeConfig(hidden=16), "precision": "32-true", "device": "cpu"}
    return BudgetTask.model_validate({**values, "threads": 1, **changes})


SEQUENCES = TemporalConfig(windows=4, hidden=16)


def experiment(temporal: object = None, **training: object) -> ExperimentConfig:
    variants = {
        "teacher": {"scale": "large", "vgae": {"hidden": 128}, "gat": {"hidden": 96, "layers": 2}},
        "student": {"scale": "small", "teacher": "teacher"},
    }
    for variant in variants.values():
        variant |= {"training": training, "temporal": temporal}
    return ExperimentConfig.model_validate(
        {
            "experiment": "kd",
            "dataset": "x",
            "ingest": {"dataset": "x"},
            "variants": variants,
            "seeds": [1, 2],
        }
    )


@pytest.mark.slow
def test_a_budget_is_found_by_real_steps_within_the_memory_named(world: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path)
    config = task(search=BudgetConfig(memory_gb=1.0, tolerance=0.3))
    result = budget(config, Inputs({"build_train": world.build_train}), out)
    found = json.loads((out.path / "budget.json").read_text())
    assert result.summary["max_nodes"] == found["max_nodes"] > 0
    assert all(p["peak_bytes"] <= 1e9 for p in found["probes"] if p["fits"])
    assert found["limit_bytes"] == 10**9


@pytest.mark.parametrize(
    "config",
    [
        task(),
        task(model=GatConfig(hidden=16)),
        task(precision="bf16-mixed"),
        task(teacher=VgaeConfig(hidden=32), distillation=DistillationConfig()),
        task(model=GatConfig(hidden=16), teacher=GatConfig(hidden=32), distillation=DistillationConfig()),
        task(model=SEQUENCES),
        task(model=SEQUENCES, teacher=SEQUENCES, distillation=DistillationConfig()),
        task(
            model=SEQUENCES,
            teacher=TemporalConfig(windows=6),
            distillation=DistillationConfig(teacher_logits="cached"),
        ),
    ],
    ids=[
        "vgae",
        "gat",
        "half",
        "distilled vgae",
        "distilled gat",
        "temporal",
        "distilled temporal",
        "distilled from longer sequences",
    ],
)
def test_a_step_changes_the_weights_as_training_does(world: TinyWorld, config: BudgetTask) -> None:
    steps = Steps(_Spec(config, world.build_train))
    before = {name: p.detach().clone() for name, p in steps.module.named_parameters()}
    steps(300, 1200)
    moved = [name for name, p in steps.module.named_parameters() if not p.equal(before[name])]
    assert len(moved) > 0.8 * len(before)


def test_a_vgae_is_tried_on_benign_windows_only(world: TinyWorld) -> None:
    assert not _Spec(task(), world.build_train).samples().store.y_G.any()
    whole = _Spec(task(model=GatConfig()), world.build_train).samples().store
    assert 0 < whole.y_G.mean() < 1


def test_a_temporal_detector_is_tried_on_sequences_and_a_budget_counts_all_their_windows(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(_Spec(task(model=SEQUENCES), world.build_train))
    one = Samples.of(GatConfig(), world.build_train)
    assert steps.samples.node_counts.sum() > 3 * one.node_counts.sum()
    tried: list[tuple[int, int, int]] = []
    step = steps.module.training_step

    def seen(batch: GraphBatch, at: int) -> torch.Tensor:
        tried.append((batch.num_graphs, batch.num_nodes, batch.num_edges))
        return step(batch, at)

    monkeypatch.setattr(steps.module, "training_step", seen)
    largest = int(steps.samples.node_counts.max())
    steps(5 * largest, 10_000)
    assert all(graphs % 4 == 0 and nodes <= 5 * largest and edges <= 10_000 for graphs, nodes, edges in tried)
    assert max(graphs for graphs, _, _ in tried) >= 5 * 4


class Fitting:
    """A probe of memory for 700 nodes."""

    def __init__(self, *args: object, **options: object) -> None: ...
    def __enter__(self) -> Fitting:
        return self

    def __exit__(self, *error: object) -> None: ...
    def __call__(self, max_nodes: int, max_edges: int) -> Probed:
        return Probed(max_nodes, max_edges, max_nodes <= 700, 10**6)


def test_training_takes_the_budget_that_was_found(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "IsolatedProbe", Fitting)
    found = output(tmp_path / "budget")
    budget(task(), Inputs({"build_train": world.build_train}), found)
    inputs = Inputs({"build_train": world.build_train, "budget": found.path})
    training = TrainingConfig(batch_budget="auto", max_epochs=1, threads=1, device="cpu")
    sized = with_budget(training, inputs)
    assert 500 < sized.max_nodes <= 700
    assert with_budget(TrainingConfig(), Inputs({})) == TrainingConfig()
    from candor.ids.config import AutoencoderTask

    trained = train_autoencoder(
        AutoencoderTask(model=VgaeConfig(hidden=16), training=training, seed=1),
        inputs,
        output(tmp_path / "train"),
    )
    assert trained.summary["max_nodes"] == sized.max_nodes


def test_a_temporal_detector_trains_in_the_budget_that_was_found_for_its_sequences(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "IsolatedProbe", Fitting)
    found = output(tmp_path / "budget")
    told = budget(task(model=SEQUENCES), Inputs({"build_train": world.build_train}), found).summary
    assert told["model"] == "temporal"
    assert 500 < int(str(told["max_nodes"])) <= 700
    vgae = untrained_vgae(world.build_train, tmp_path / "vgae")
    inputs = Inputs({"build_train": world.build_train, "budget": found.path, "vgae": vgae})
    training = TrainingConfig(batch_budget="auto", max_epochs=1, threads=1, device="cpu")
    config = TemporalTask(model=SEQUENCES, training=training, seed=1)
    trained = train_temporal(config, inputs, output(tmp_path / "train"))
    assert trained.summary["max_nodes"] == told["max_nodes"]


def test_an_automatic_budget_is_a_task_that_seeds_share_and_training_waits_for() -> None:
    tasks: dict[str, TaskSpec] = {t.id: t for t in plan(experiment(batch_budget="auto", device="cpu"))}
    assert [n for n in tasks if n.startswith("budget")] == [
        f"budget.{v}.{m}" for v in ("teacher", "student") for m in ("vgae", "gat")
    ]
    for seed in (1, 2):
        assert tasks[f"autoencoder.student.s{seed}"].inputs["budget"] == "budget.student.vgae"
        assert tasks[f"curriculum.student.s{seed}"].inputs["budget"] == "budget.student.gat"
    assert not [n for n in (t.id for t in plan(experiment())) if n.startswith("budget")]


def test_an_automatic_budget_of_sequences_is_a_task_of_its_own() -> None:
    config = experiment({"windows": 4}, batch_budget="auto", device="cpu")
    tasks = {t.id: t for t in plan(config)}
    assert {"budget.teacher.temporal", "budget.student.temporal"} < set(tasks)
    for seed in (1, 2):
        assert tasks[f"temporal.student.s{seed}"].inputs["budget"] == "budget.student.temporal"
    learns = tasks["budget.student.temporal"].config
    assert isinstance(learns, BudgetTask)
    assert isinstance(learns.teacher, TemporalConfig)
    assert BudgetTask.model_validate_json(learns.model_dump_json()) == learns


def test_a_budget_of_sequences_does_not_change_the_keys_of_others() -> None:
    """Models are told apart in a frozen plan by their fields alone."""
    for model in (VgaeConfig(), GatConfig(), TemporalConfig()):
        read = BudgetTask.model_validate_json(task(model=model).model_dump_json())
        assert type(read.model) is type(model)


def test_an_automatic_budget_wants_the_device_named() -> None:
    with pytest.raises(ConfigError, match=r"one type of device.*training.device"):
        plan(experiment(batch_budget="auto"))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", Target("teacher", "vgae")),
        ("teacher.gat", Target("teacher", "gat")),
        ("large.gat", Target("teacher", "gat")),
        ("small", Target("student", "gat")),
        ("student.vgae", Target("student", "vgae")),
    ],
)
def test_a_model_is_named_by_variant_or_scale_and_is_the_largest_by_default(
    wanted: str, expected: Target
) -> None:
    assert choose(experiment(), wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("temporal", Target("teacher", "temporal")),
        ("student.temporal", Target("student", "temporal")),
        ("gat", Target("teacher", "gat")),
        ("", Target("teacher", "vgae")),
    ],
)
def test_a_temporal_detector_is_found_where_the_experiment_has_one(wanted: str, expected: Target) -> None:
    assert choose(experiment({"windows": 4}), wanted) == expected


@pytest.mark.parametrize("wanted", ["temporal", "teacher.temporal"])
def test_where_there_is_no_temporal_detector_it_is_said_how_to_have_one(wanted: str) -> None:
    with pytest.raises(NotFound, match=r"--set temporal\.windows=8"):
        choose(experiment(), wanted)


@pytest.mark.parametrize("wanted", ["teacher.gta", "techer.vgae", "huge"])
def test_an_unknown_model_is_told_with_those_there_are(wanted: str) -> None:
    with pytest.raises(NotFound, match=r"teacher\.vgae, teacher\.gat, student\.vgae"):
        choose(experiment(), wanted)


def test_no_window_to_try_is_an_error(tmp_path: Path, world: TinyWorld) -> None:
    from candor.errors import DataError
    from candor.ids.graphs.writer import StoreWriter

    with StoreWriter(tmp_path / "train") as writer:
        writer.meta = {"captures": [], "attacks": []}
    with pytest.raises(DataError, match="no window to try"):
        _Spec(task(), tmp_path).samples()
    assert np.diff(world.store("train").node_ptr).min() > 0
