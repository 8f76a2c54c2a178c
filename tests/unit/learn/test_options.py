"""Training options, each as it acts on a real training; interrupted trainings repeat undisturbed ones with any of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_world import Rows, Stops, TinyWorld, output

from candor.ids.config import CurriculumConfig, CurriculumTask, DistillationConfig, GatConfig, TrainingConfig
from candor.ids.models.gat import Gat
from candor.ids.models.training import GatTraining, Miner, WindowTeacher
from candor.ids.training import _gat_teacher, scoring_batches
from candor.learn.checkpoints import load_tree, seed_everything
from candor.learn.curriculum import CurriculumSampler, Schedule, remine
from candor.learn.fit import fit
from candor.learn.loading import GraphLoader

BASE = {"max_epochs": 4, "learning_rate": 1e-2, "threads": 1, "device": "cpu", "patience": 0}


def options(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate({**BASE, **changes})


def gat(world: TinyWorld, hidden: int = 16) -> Gat:
    config = GatConfig.model_validate({"hidden": hidden, "layers": 2})
    return Gat(config, world.inputs(config.inputs))


def train(
    world: TinyWorld, path, config: TrainingConfig, *, rows: Rows | None = None, refresh: int = 0, **more
):
    """One training of a GAT; with ``refresh`` under a curriculum that is mined anew."""
    rows = rows or Rows()
    loader, miner = world.loader("train", shuffle=True), None
    if refresh:
        store = world.store("train")
        hardness = np.random.default_rng(0).uniform(size=len(store))
        sampler = CurriculumSampler(
            Schedule(1.0, config.max_epochs, 0.5), store.y_G, hardness, store.node_counts, store.edge_counts,
            max_nodes=600, max_edges=2400, seed=3,
        )  # fmt: skip
        loader = GraphLoader(store, sampler)
        miner = Miner(
            CurriculumConfig(refresh_epochs=refresh),
            sampler,
            store.y_G,
            hardness,
            lambda: scoring_batches(store),
        )

    def build() -> GatTraining:
        seed_everything(3)
        return GatTraining(gat(world), config, 3, miner=miner, **more)

    module, report = fit(build, loader, world.loader("val"), config, output(path, rows))
    return module, report, rows


@pytest.mark.parametrize(
    "loss",
    [{"kind": "weighted", "attack_weight": 3.0}, {"kind": "weighted"}, {"kind": "focal", "gamma": 1.0}],
)
def test_every_loss_learns_to_tell_attack_windows(world: TinyWorld, tmp_path, loss):
    _, _, rows = train(world, tmp_path, options(loss=loss), attack_weight=0.5)
    assert rows.curve("train_loss")[-1] < 0.5 * rows.curve("train_loss")[0]
    assert max(rows.curve("val_accuracy")) > 0.95
    assert f"train_{loss['kind']}" in rows.rows[0][2]


def test_a_weight_left_open_is_that_of_the_training_windows(world: TinyWorld):
    module = GatTraining(gat(world), options(loss={"kind": "weighted"}), 0, attack_weight=7.0)
    logits, y = torch.tensor([[1.0, 0.0], [0.5, 0.2]]), torch.tensor([0, 1])
    stated = GatTraining(gat(world), options(loss={"kind": "weighted", "attack_weight": 7.0}), 0)
    assert module.loss(logits, y) == stated.loss(logits, y)


def test_mixed_precision_is_off_on_a_cpu(world: TinyWorld, tmp_path):
    plain = train(world, tmp_path / "a", options(max_epochs=1))[2]
    asked = train(world, tmp_path / "b", options(max_epochs=1, precision="bf16-mixed"))[2]
    assert asked.curve("val_loss") == plain.curve("val_loss")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_learns_on_cuda(world: TinyWorld, tmp_path, precision):
    _, _, rows = train(world, tmp_path, options(precision=precision, device="cuda"))
    assert max(rows.curve("val_accuracy")) > 0.95


def test_accumulating_batches_takes_fewer_steps(world: TinyWorld, tmp_path):
    steps = {}
    for batches in (1, 4):
        out = tmp_path / str(batches)
        train(world, out, options(max_epochs=1, accumulate_batches=batches))
        steps[batches] = load_tree(out / "scratch" / "training.safetensors")["global_step"]
    assert steps[4] == -(-steps[1] // 4)


def test_averaged_weights_are_validated_and_kept_and_differ_from_the_last_ones(world: TinyWorld, tmp_path):
    module, report, rows = train(world, tmp_path, options(ema_decay=0.9, tolerance=0.0))
    plain = train(world, tmp_path / "plain", options(tolerance=0.0))[2]
    assert rows.curve("train_loss")[0] == pytest.approx(plain.curve("train_loss")[0], rel=1e-6)
    assert rows.curve("val_loss") != pytest.approx(plain.curve("val_loss"), rel=1e-3)
    last = load_tree(tmp_path / "scratch" / "training.safetensors")
    raw = last["state_dict"]["model.classify.0.weight"]
    assert not torch.allclose(module.model.classify[0].weight, raw)
    # What is returned gives the validation loss that was recorded for it.
    val = world.store("val")
    batch = world.batch("val", list(range(len(val))))
    with torch.inference_mode():
        loss = module.loss(module.model(batch).logits_GC, batch.y)
    assert loss.item() == pytest.approx(rows.curve("val_loss")[report.best_epoch], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "refresh"),
    [({"ema_decay": 0.9}, 0), ({"schedule": {"kind": "plateau", "patience": 0}}, 0), ({}, 1), ({}, 2)],
)
def test_an_interrupted_training_repeats_an_undisturbed_one(world: TinyWorld, tmp_path, changes, refresh):
    config = options(**changes)
    straight = train(world, tmp_path / "straight", config, refresh=refresh)

    with pytest.raises(KeyboardInterrupt):
        train(world, tmp_path / "broken", config, rows=Stops(), refresh=refresh)
    resumed = train(world, tmp_path / "broken", config, refresh=refresh)
    assert resumed[1].resumed_from == 2
    assert resumed[2].curve("train_loss") == pytest.approx(straight[2].curve("train_loss")[2:], rel=1e-6)
    assert resumed[2].curve("val_loss") == pytest.approx(straight[2].curve("val_loss")[2:], rel=1e-6)


def test_a_refresh_changes_which_windows_the_next_epoch_shows(world: TinyWorld, tmp_path):
    still, moving = (train(world, tmp_path / str(n), options(max_epochs=2), refresh=n)[2] for n in (2, 1))
    assert moving.curve("train_loss")[0] == still.curve("train_loss")[0]
    assert moving.curve("train_loss")[1] != still.curve("train_loss")[1]


def test_hardness_is_mixed_by_rank_and_only_of_benign_windows():
    y = np.array([0, 0, 0, 1], np.uint8)
    old, new = np.array([5.0, 1.0, 900.0, 3.0]), np.array([0.1, 0.3, 0.2, 0.9])
    assert remine(old, new, y, 1.0).tolist() == [0.5, 0.0, 1.0, 0.0]
    assert remine(old, new, y, 0.0).tolist() == [0.0, 1.0, 0.5, 0.0]
    assert remine(old, new, y, 0.5).tolist() == [0.25, 0.5, 0.75, 0.0]


def test_the_momentum_goes_from_its_start_to_its_end():
    config = CurriculumConfig(refresh_epochs=1, momentum_start=0.8, momentum_end=0.2)
    miner = Miner(config, None, np.zeros(1, np.uint8), np.zeros(1), list)  # type: ignore[arg-type]
    assert [miner.momentum(e, 4) for e in range(4)] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_cached_logits_teach_what_live_ones_do(world: TinyWorld, tmp_path):
    seed_everything(9)
    model = gat(world, hidden=32).eval()
    store, curves = world.store("train"), {}
    for how in ("live", "cached"):
        config = DistillationConfig(teacher_logits=how)
        teacher = _gat_teacher(model, config, store, options())
        assert (teacher.logits_GC is None) == (how == "live")
        rows = train(world, tmp_path / how, options(max_epochs=2), teacher=teacher)[2]
        curves[how] = rows.curve("train_loss"), rows.curve("train_distillation")
    assert curves["cached"][0] == pytest.approx(curves["live"][0], rel=1e-4)
    assert curves["cached"][1] == pytest.approx(curves["live"][1], rel=1e-4)


def test_a_cached_teacher_is_not_asked_again(world: TinyWorld, tmp_path):
    model = gat(world)
    model.forward = None  # type: ignore[assignment]
    teacher = WindowTeacher(model, DistillationConfig(), torch.zeros(len(world.store("train")), 2))
    assert train(world, tmp_path, options(max_epochs=1), teacher=teacher)[1].epochs == 1


def test_the_task_of_a_default_run_is_as_it_was():
    """New options are off unless asked for: their defaults change no result."""
    task = CurriculumTask(model=GatConfig(), training=TrainingConfig(), curriculum=CurriculumConfig(), seed=1)
    assert task.training.loss.kind == "cross_entropy"
    assert (task.training.ema_decay, task.curriculum.refresh_epochs) == (0.0, 0)
    assert DistillationConfig().teacher_logits == "live"
