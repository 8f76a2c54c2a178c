"""Sequences stay inside captures and splits; the temporal detector learns, also what no single window shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_world import Rows, TinyWorld, output
from training_kit import untrained_vgae

from candor.errors import ConfigError
from candor.flow.stage import Inputs
from candor.ids.config import CurriculumConfig, ScoreTask, TemporalConfig, TemporalTask, TrainingConfig
from candor.ids.experiment import resolve
from candor.ids.models.temporal import (
    SequenceSampler,
    Temporal,
    TemporalTraining,
    histories,
    sequence_sizes,
)
from candor.ids.pipeline import plan
from candor.ids.scoring import read_scores, window_rows
from candor.ids.temporal import load_temporal, score_temporal, score_windows, train_temporal
from candor.learn.batching import GraphBatch
from candor.learn.checkpoints import load_tree
from candor.learn.metrics import ranking_metrics
from candor.learn.sampling import BudgetSampler

MODEL = TemporalConfig(windows=4, hidden=16)
TRAINING = TrainingConfig(max_epochs=3, learning_rate=1e-2, threads=1, device="cpu", patience=0)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_sequence_never_crosses_a_capture_a_cut_or_a_split(world: TinyWorld, split: str):
    store = world.store(split)
    rows = window_rows(store.path, split)
    history = histories(store.window_G, rows["window"].to_numpy(), 5)
    capture, number = store.window_G["capture"], rows["window"].to_numpy()
    assert (history[:, -1] == np.arange(len(store))).all()
    assert (capture[history] == capture[:, None]).all()
    step = np.diff(history, axis=1)
    assert set(np.unique(step)) <= {0, 1}
    assert (np.diff(number[history], axis=1) == step).all()  # A cut skips a number.
    if split == "train":  # Embargoed validation blocks cut training captures.
        assert (np.diff(number) > 1).any()
    # Frames of a sequence are one stretch: each window begins where the one before ended.
    start = store.window_G["start"]
    assert (np.diff(start[history], axis=1) == 50 * step).all()


def test_windows_of_another_profile_begin_a_sequence_of_their_own():
    window = np.zeros(6, np.dtype([("capture", "<i4"), ("profile", "u1")]))
    window["profile"] = [0, 0, 0, 1, 1, 1]
    history = histories(window, np.array([0, 1, 2, 3, 4, 5]), 3)
    assert history.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [3, 3, 3], [3, 3, 4], [3, 4, 5]]


def test_a_score_depends_on_its_sequence_alone(world: TinyWorld):
    torch.manual_seed(0)
    model = Temporal(MODEL, world.inputs()).eval()
    with torch.inference_mode():
        pair = model(world.batch("train", [0, 1, 2, 3, 8, 9, 10, 11]))
        alone = model(world.batch("train", [8, 9, 10, 11]))
        other = model(world.batch("train", [7, 9, 10, 11]))
    assert torch.allclose(pair[1], alone[0], atol=1e-5)
    assert not torch.allclose(alone, other, atol=1e-6)


def test_an_id_keeps_its_state_from_window_to_window(world: TinyWorld):
    """The same windows with IDs renamed in the older ones are another sequence, though each window alone looks alike."""
    torch.manual_seed(0)
    model = Temporal(MODEL, world.inputs()).eval()
    model.inputs.as_unknown = True  # Names say nothing by themselves.
    same, renamed = (world.batch("train", [0, 1, 2, 3]) for _ in range(2))
    renamed.node_id[renamed.batch < 3] += 0x10000
    with torch.inference_mode():
        assert not torch.allclose(model(same), model(renamed), atol=1e-6)


def train(
    world: TinyWorld,
    folder: Path,
    rows: Rows | None = None,
    curriculum: CurriculumConfig | None = None,
    **changes: object,
) -> Path:
    """The artifact of one training by the stage."""
    out = output(folder, rows)
    inputs = {"build_train": world.build_train, "vgae": untrained_vgae(world.build_train, folder / "vgae")}
    task = TemporalTask(
        model=MODEL,
        training=TrainingConfig.model_validate(TRAINING.model_dump() | changes),
        curriculum=curriculum or CurriculumConfig(),
        seed=1,
    )
    train_temporal(task, Inputs(inputs), out)
    return out.path


def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(windows of the batch, nodes, edges) of every training step from now on."""
    steps, step = [], TemporalTraining.training_step

    def counted(self: TemporalTraining, batch: GraphBatch, at: int) -> torch.Tensor:
        steps.append((batch.num_graphs, len(batch.x), batch.edge_index.shape[1]))
        return step(self, batch, at)

    monkeypatch.setattr(TemporalTraining, "training_step", counted)
    return steps


def test_batches_of_sequences_stay_within_the_budget_and_hold_every_window_once(world: TinyWorld):
    store = world.store("train")
    number = window_rows(store.path, "train")["window"].to_numpy()
    history = histories(store.window_G, number, 4)
    sizes = sequence_sizes(history, store.node_counts, store.edge_counts)
    packed = BudgetSampler(*sizes, max_nodes=400, max_edges=900, shuffle=True, seed=0)
    sampler = SequenceSampler(history, packed)
    sampler.set_epoch(3)
    batches = list(sampler)
    assert len(batches) == len(sampler) > 1
    for batch in batches:
        assert store.node_counts[batch].sum() <= 400
        assert store.edge_counts[batch].sum() <= 900
    judged = np.concatenate([np.array(b).reshape(-1, 4)[:, -1] for b in batches])
    assert sorted(judged) == list(range(len(store)))
    assert all((np.array(b).reshape(-1, 4) == history[np.array(b)[3::4]]).all() for b in batches)


def test_the_budget_of_the_training_config_is_that_of_its_sequences(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = seen(monkeypatch)
    train(world, tmp_path, max_epochs=1, max_nodes=500, max_edges=1000)
    assert len(steps) > 5
    assert all(nodes <= 500 and edges <= 1000 and not n % MODEL.windows for n, nodes, edges in steps)


def test_the_curriculum_begins_balanced_and_ends_with_all_windows(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps, rows = seen(monkeypatch), Rows()
    train(world, tmp_path, rows, CurriculumConfig(start_ratio=1.0, ramp=0.5), max_epochs=2)
    shown = sum(n for n, _, _ in steps) // MODEL.windows
    store = world.store("train")
    attacks = int((store.y_G != 0).sum())
    assert shown == 2 * attacks + len(store)


@pytest.mark.parametrize(
    "loss",
    [{"kind": "weighted"}, {"kind": "weighted", "attack_weight": 3.0}, {"kind": "focal", "gamma": 1.0}],
)
def test_every_loss_of_the_training_config_teaches_sequences(world: TinyWorld, tmp_path: Path, loss: object):
    rows = Rows()
    train(world, tmp_path, rows, loss=loss, max_epochs=2)
    assert rows.curve("train_loss")[-1] < 0.8 * rows.curve("train_loss")[0]
    assert max(rows.curve("val_accuracy")) > 0.9
    assert f"train_{loss['kind']}" in rows.rows[0][2]  # type: ignore[index]


def test_options_of_a_training_act_on_sequences_as_on_windows(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Accumulation takes fewer steps, averaged weights are what is validated, a plateau lowers the rate, patience stops."""
    steps, plain = seen(monkeypatch), Rows()
    train(world, tmp_path / "plain", plain, max_epochs=2)
    once = len(steps)

    def checkpoint(name: str) -> dict[str, Any]:
        found: dict[str, Any] = load_tree(tmp_path / name / "scratch" / "training.safetensors")
        return found

    assert checkpoint("plain")["global_step"] == once
    train(world, tmp_path / "four", max_epochs=2, accumulate_batches=4)
    assert checkpoint("four")["global_step"] <= once // 4 + 2
    averaged = Rows()
    train(world, tmp_path / "ema", averaged, max_epochs=2, ema_decay=0.9)
    assert averaged.curve("train_loss")[0] == pytest.approx(plain.curve("train_loss")[0], rel=1e-6)
    assert averaged.curve("val_loss") != pytest.approx(plain.curve("val_loss"), rel=1e-3)
    stopped = Rows()
    wild = {"learning_rate": 0.5, "gradient_clip": 0.0, "patience": 1, "max_epochs": 12}
    train(world, tmp_path / "wild", stopped, **wild, schedule={"kind": "plateau", "patience": 0})
    assert len(stopped.curve("val_loss")) < 12
    assert checkpoint("wild")["optimizer_states"][0]["param_groups"][0]["lr"] < 0.5


def test_hard_windows_are_mined_anew_by_what_the_sequence_detector_takes_for_attacks(
    world: TinyWorld, tmp_path: Path
):
    still, mined = Rows(), Rows()
    slow = {"start_ratio": 0.5, "ramp": 1.0}
    train(world, tmp_path / "still", still, CurriculumConfig.model_validate(slow), max_epochs=2)
    anew = CurriculumConfig.model_validate({**slow, "refresh_epochs": 1, "momentum_start": 0.0})
    train(world, tmp_path / "mined", mined, anew, max_epochs=2)
    assert mined.curve("train_loss")[0] == still.curve("train_loss")[0]
    assert mined.curve("train_loss")[1] != still.curve("train_loss")[1]
    hardness = load_tree(tmp_path / "mined" / "scratch" / "training.safetensors")["state_dict"]["hardness_G"]
    assert len(hardness) == len(world.store("train"))


def test_training_shows_only_sequences_of_one_training_capture(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What reaches the model in a real training, not only what the histories say: no step mixes captures or splits."""
    store = world.store("train")
    capture, number = store.window_G["capture"], window_rows(store.path, "train")["window"].to_numpy()
    step, checked = TemporalTraining.training_step, []

    def looked_at(self: TemporalTraining, batch: GraphBatch, at: int) -> torch.Tensor:
        run_ST = batch.index.view(-1, MODEL.windows).numpy()
        assert (batch.y.view(-1, MODEL.windows).numpy() == (store.y_G != 0)[run_ST]).all()
        assert (capture[run_ST] == capture[run_ST][:, :1]).all()
        apart = np.diff(number[run_ST], axis=1)
        assert set(np.unique(apart)) <= {0, 1}
        checked.append(len(run_ST))
        return step(self, batch, at)

    monkeypatch.setattr(TemporalTraining, "training_step", looked_at)
    train(world, tmp_path, max_epochs=1)
    assert sum(checked) > 0


def test_the_stages_train_and_score_every_window_and_tell_attacks(world: TinyWorld, tmp_path):
    rows = Rows()
    trained, scored = train(world, tmp_path / "a", rows), output(tmp_path / "b")
    graphs = {"build_train": world.build_train, "build_test": world.build_test}
    assert rows.curve("train_loss")[-1] < 0.7 * rows.curve("train_loss")[0]
    inputs = Inputs({**graphs, "temporal": trained})
    score_temporal(ScoreTask(variant="student", seed=1, device="cpu", threads=1), inputs, scored)
    table = read_scores([scored.path / "scores.parquet"])
    assert len(table) == len(world.store("val")) + len(world.store("test"))
    val = table.filter(table["split"] == "val")
    assert ranking_metrics(val["y"].to_numpy(), val["score"].to_numpy())["auroc"][0] > 0.9
    again = score_windows(load_temporal(trained), world.build_train / "val", torch.device("cpu"))
    assert np.allclose(np.sort(again), np.sort(val["score"].to_numpy()))


def test_a_drift_that_no_single_window_shows_is_learned(world: TinyWorld):
    """Sequences of the same four windows, forwards or backwards; their sets of windows are equal, their order is not."""
    torch.manual_seed(0)
    model = Temporal(TemporalConfig(windows=4, hidden=16, dropout=0.0), world.inputs())
    starts = list(range(0, 60, 4))
    store = world.store("train")
    forwards = [list(range(g, g + 4)) for g in starts if (store.y_G[g : g + 4] == 0).all()]
    flat = [i for run in forwards for i in (*run, *run[::-1])]
    batch = world.batch("train", flat)
    # A slow change: one feature grows a little from window to window in time, alike in both classes taken as a set.
    step = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0] * len(forwards))[batch.batch]
    batch.x[:, 1] = 0.2 * step * model.inputs.std_D[1] + model.inputs.mean_D[1]
    y = torch.tensor([1, 0] * len(forwards))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(batch), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.eval()(batch).argmax(-1) == y).float().mean() > 0.9


def test_the_plan_holds_the_detector_only_where_it_is_stated():
    without, _ = resolve("kd", "synthetic")
    assert not [t for t in plan(without) if "temporal" in t.id]
    given, _ = resolve("kd", "synthetic", sets=["variants.student.temporal.windows=6"])
    tasks = {t.id: t for t in plan(given)}
    assert tasks["evaluate"].inputs["scores.temporal.student.s1"] == "score_temporal.student.s1"
    assert "temporal.teacher.s1" not in tasks
    assert "build_test" not in tasks["temporal.student.s1"].inputs.values()
    assert tasks["temporal.student.s1"].inputs["vgae"] == "autoencoder.student.s1"


def test_the_variants_curriculum_is_that_of_its_sequences_too():
    sets = ["temporal.windows=6", "curriculum.refresh_epochs=2", "training.loss.kind=focal"]
    config, _ = resolve("kd", "synthetic", sets=sets)
    task = next(t for t in plan(config) if t.id == "temporal.student.s1").config
    assert isinstance(task, TemporalTask)
    assert (task.curriculum.refresh_epochs, task.training.loss.kind) == (2, "focal")


def test_a_student_is_taught_where_its_teacher_has_the_detector_too():
    def planned(*sets: str):
        config, _ = resolve("kd", "synthetic", sets=list(sets))
        return {t.id: t for t in plan(config)}

    both = planned("temporal.windows=6")
    assert both["temporal.student_kd.s1"].inputs["teacher"] == "temporal.teacher.s1"
    assert both["temporal.student_kd.s1"].config.distillation is not None
    assert both["temporal.student.s1"].config.distillation is None
    alone = planned("variants.student_kd.temporal.windows=6")
    assert "teacher" not in alone["temporal.student_kd.s1"].inputs
    unequal = ("temporal.windows=6", "variants.teacher.temporal.windows=12")
    with pytest.raises(ConfigError, match="of 12 windows and those of 'student_kd' of 6"):
        planned(*unequal)
    assert "temporal.student_kd.s1" in planned(*unequal, "distillation.teacher_logits=cached")
