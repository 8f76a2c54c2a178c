"""Two processes (gloo, on this machine) train one model: what one process would have learned, and one artifact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_world import Rows, TinyWorld, output
from training_kit import untrained_vgae

from candor.flow.stage import Inputs
from candor.ids.config import (
    AutoencoderTask,
    CurriculumConfig,
    CurriculumTask,
    DistillationConfig,
    GatConfig,
    TemporalConfig,
    TemporalTask,
    TrainingConfig,
    VgaeConfig,
)
from candor.ids.temporal import train_temporal
from candor.ids.training import curriculum_sampler, train_autoencoder, train_curriculum

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Nothing is drawn in a step, so that two processes and one compute the same.
SURE = GatConfig.model_validate(
    {"hidden": 16, "layers": 2, "dropout": 0, "inputs": {"graph_id_dropout": 0, "node_id_dropout": 0}}
)


def options(**changes: object) -> TrainingConfig:
    values = {"max_epochs": 3, "learning_rate": 1e-2, "threads": 1, "device": "cpu", "patience": 0}
    return TrainingConfig.model_validate({**values, "max_nodes": 300, **changes})


def inputs(world: TinyWorld, folder: Path) -> Inputs:
    vgae = (
        folder / "vgae" if (folder / "vgae").is_dir() else untrained_vgae(world.build_train, folder / "vgae")
    )
    return Inputs({"build_train": world.build_train, "vgae": vgae})


def classifier(
    world: TinyWorld, folder: Path, training: TrainingConfig, rows: Rows | None = None
) -> tuple[Rows, dict[str, torch.Tensor]]:
    """What a classifier's training recorded, and its weights."""
    rows = rows or Rows()
    out = output(folder, rows)
    config = CurriculumTask(
        model=SURE, training=training, curriculum=CurriculumConfig(start_ratio=100, refresh_epochs=1), seed=1
    )
    train_curriculum(config, inputs(world, folder.parent), out)
    return rows, load_file(out.path / "weights.safetensors")


def even_budget(world: TinyWorld) -> int:
    """A budget of nodes with which every epoch has an even number of batches, so that both ways pack alike."""
    store = world.store("train")
    sizes = store.node_counts, store.edge_counts
    hardness = store.y_G * 0.0
    for nodes in range(200, 600, 10):
        sampler = curriculum_sampler(
            CurriculumConfig(start_ratio=100), options(max_nodes=nodes), store.y_G, hardness, sizes, 1
        )
        counts = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            counts.append(len(sampler))
        if not any(count % 2 for count in counts) and min(counts) > 2:
            return nodes
    raise AssertionError("no such budget")


def test_two_processes_learn_what_one_does_that_accumulates_two_batches(
    world: TinyWorld, tmp_path: Path
) -> None:
    same = {"max_nodes": even_budget(world), "ema_decay": 0.5}
    one, weights = classifier(world, tmp_path / "one", options(**same, accumulate_batches=2))
    two, found = classifier(world, tmp_path / "two", options(**same, devices=2))
    for metric in ("train_loss", "val_loss", "val_accuracy"):
        assert two.curve(metric) == pytest.approx(one.curve(metric), rel=1e-4)
    assert len(two.rows) == 3
    for name, tensor in weights.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
    alone, _ = classifier(world, tmp_path / "alone", options(**same))
    assert alone.curve("val_loss") != pytest.approx(one.curve("val_loss"), rel=1e-4)


def test_training_of_two_that_was_interrupted_goes_on_where_it_was(world: TinyWorld, tmp_path: Path) -> None:
    class Stop(Rows):
        def log(self, step: int, metrics: dict[str, float], *, kind: str = "epoch") -> None:  # type: ignore[override]
            super().log(step, metrics, kind=kind)
            if step == 1:
                raise KeyboardInterrupt

    straight, _ = classifier(world, tmp_path / "straight", options(devices=2))
    rows = Stop()
    with pytest.raises(KeyboardInterrupt):
        classifier(world, tmp_path / "broken", options(devices=2), rows)
    resumed, _ = classifier(world, tmp_path / "broken", options(devices=2))
    both = rows.curve("val_loss")[:1] + resumed.curve("val_loss")
    assert both == pytest.approx(straight.curve("val_loss"), rel=1e-6)


def test_an_autoencoder_that_learns_from_a_teacher_is_one_artifact(world: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path / "student")
    config = AutoencoderTask(
        model=VgaeConfig(hidden=16),
        training=options(devices=2, patience=1, max_epochs=2),
        distillation=DistillationConfig(),
        seed=1,
    )
    given = inputs(world, tmp_path)
    told = train_autoencoder(config, Inputs({**given.paths, "teacher": given.path("vgae")}), out).summary
    assert told["epochs"] == 2
    assert (out.path / "weights.safetensors").is_file()
    assert json.loads((out.path / "model.json").read_text())["hidden"] == 16


def test_sequences_are_shared_too(world: TinyWorld, tmp_path: Path) -> None:
    out = output(tmp_path / "temporal")
    config = TemporalTask(
        model=TemporalConfig(windows=4, hidden=8),
        training=options(devices=2, max_epochs=2, max_nodes=2000),
        curriculum=CurriculumConfig(refresh_epochs=1),
        seed=1,
    )
    assert train_temporal(config, inputs(world, tmp_path), out).summary["epochs"] == 2
