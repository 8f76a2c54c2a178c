"""Training as a stage does it: it learns, it resumes to the same curve, it keeps the best."""

import pytest
import torch
from tiny_world import Stops, TinyWorld, output
from training_kit import FAST, gat_training, train, vgae_training

from candor.ids.config import DistillationConfig, TrainingConfig
from candor.ids.models.training import GatTraining, VgaeTeacher, WindowTeacher
from candor.learn.fit import fit


def test_a_gat_learns_to_tell_attack_windows(world: TinyWorld, tmp_path):
    _, report, rows = train(gat_training(world), world, tmp_path)
    accuracy = rows.curve("val_accuracy")
    assert max(accuracy) > 0.95
    assert rows.curve("val_loss")[report.best_epoch] == pytest.approx(report.best_loss)
    assert rows.curve("train_loss")[-1] < 0.5 * rows.curve("train_loss")[0]


def test_a_vgae_learns_to_reconstruct_benign_windows(world: TinyWorld, tmp_path):
    longer = FAST.model_copy(update={"max_epochs": 8})
    _, _, rows = train(vgae_training(world, longer), world, tmp_path, longer, only=0)
    errors = rows.curve("val_feature_error")
    assert errors[-1] < 0.7 * errors[0]


def test_training_that_was_interrupted_gives_the_curve_of_one_that_was_not(world: TinyWorld, tmp_path):
    straight = train(gat_training(world), world, tmp_path / "straight")

    rows = Stops()
    with pytest.raises(KeyboardInterrupt):
        fit(
            gat_training(world), world.loader("train", shuffle=True), world.loader("val"), FAST,
            output(tmp_path / "broken", rows),
        )  # fmt: skip
    resumed = train(gat_training(world), world, tmp_path / "broken")
    assert resumed[1].resumed_from == 2
    both = rows.curve("val_loss")[:2] + resumed[2].curve("val_loss")
    assert both == pytest.approx(straight[2].curve("val_loss"), rel=1e-6)
    assert rows.curve("train_loss")[:2] + resumed[2].curve("train_loss") == pytest.approx(
        straight[2].curve("train_loss"), rel=1e-6
    )
    for a, b in zip(straight[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_the_weights_of_the_best_epoch_are_returned(world: TinyWorld, tmp_path):
    wild = FAST.model_copy(update={"learning_rate": 0.5, "gradient_clip": 0.0, "tolerance": 0.0})
    module, report, rows = train(gat_training(world, wild), world, tmp_path, wild)
    losses = rows.curve("val_loss")
    assert report.best_epoch == losses.index(min(losses))
    model = module.model
    total, correct = 0, 0
    for batch in world.loader("val"):
        total += batch.num_graphs
        correct += int((model(batch).logits_GC.argmax(-1) == batch.y).sum())
    assert correct / total == pytest.approx(rows.curve("val_accuracy")[report.best_epoch], abs=1e-6)


def test_a_validation_loss_that_is_never_a_number_is_told_with_what_to_do(world: TinyWorld, tmp_path):
    def build() -> GatTraining:
        module = gat_training(world)()
        module.validation_step = lambda batch, batch_idx: module.record(
            "val_loss", torch.tensor(float("nan")), batch.num_graphs
        )
        return module

    with pytest.raises(FloatingPointError, match=r"val_loss was never a finite number.*learning_rate"):
        train(build, world, tmp_path)


def test_of_equally_good_epochs_the_latest_is_kept(world: TinyWorld, tmp_path):
    lenient = FAST.model_copy(update={"tolerance": 10.0})
    _, report, rows = train(gat_training(world, lenient), world, tmp_path, lenient)
    assert report.best_epoch == len(rows.curve("val_loss")) - 1
    assert report.best_loss == pytest.approx(min(rows.curve("val_loss")))


def test_two_threads_give_the_same_bits_every_time(world: TinyWorld, tmp_path):
    options = FAST.model_copy(update={"threads": 2, "max_epochs": 2})
    first, second = (train(gat_training(world, options), world, tmp_path / str(i), options) for i in range(2))
    assert first[2].rows == second[2].rows
    for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_stops_early_when_validation_no_longer_improves(world: TinyWorld, tmp_path):
    still = TrainingConfig(
        max_epochs=12, learning_rate=1e-12, patience=2, tolerance=0.0, threads=1, device="cpu"
    )
    _, report, _ = train(gat_training(world, still), world, tmp_path, still)
    assert report.epochs < 12


@pytest.mark.parametrize("change", [{"precision": "bf16-mixed"}, {"accumulate_batches": 3}])
def test_mixed_precision_and_accumulation_train_too(world: TinyWorld, tmp_path, change):
    options = FAST.model_copy(update=change)
    _, _, rows = train(gat_training(world, options), world, tmp_path, options)
    assert max(rows.curve("val_accuracy")) > 0.9


def test_a_loss_that_is_no_number_stops_with_the_epoch_and_what_to_change(world: TinyWorld, tmp_path):
    def build() -> GatTraining:
        module = gat_training(world)()
        torch.nn.init.constant_(module.model.classify[-1].bias, float("nan"))
        return module

    with pytest.raises(FloatingPointError, match=r"nan in epoch 0; lower training\.learning_rate"):
        train(build, world, tmp_path)


def test_a_student_comes_closer_to_its_teacher_by_distillation(world: TinyWorld, tmp_path):
    teacher = train(gat_training(world, hidden=32), world, tmp_path / "teacher")[0].model
    pull = DistillationConfig(kl_weight=1.0)
    taught = train(
        gat_training(world, teacher=WindowTeacher(teacher, pull), hidden=8), world, tmp_path / "taught"
    )
    kl = taught[2].curve("train_distillation")
    assert kl[-1] < 0.5 * kl[0]
    assert not any("teacher" in name for name, _ in taught[0].named_parameters())
    assert all(not p.requires_grad for p in teacher.parameters())


def test_a_vgae_student_learns_its_teachers_latents_through_a_projection(world: TinyWorld, tmp_path):
    teacher = train(vgae_training(world, latent=12), world, tmp_path / "teacher", only=0)[0].model
    pull = DistillationConfig(latent_weight=1.0, reconstruction_weight=1.0)
    taught = train(
        vgae_training(world, teacher=VgaeTeacher(teacher, pull), latent=4), world, tmp_path / "t", only=0
    )
    distance = taught[2].curve("train_distillation")
    assert distance[-1] < 0.7 * distance[0]


def test_nothing_in_the_scratch_folder_is_a_pickle(world: TinyWorld, tmp_path):
    train(gat_training(world), world, tmp_path)
    files = sorted(p.name for p in (tmp_path / "scratch").iterdir())
    assert files == ["best.safetensors", "training.safetensors"]
