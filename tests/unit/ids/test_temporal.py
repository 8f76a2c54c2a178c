"""Sequences stay inside captures and splits; the temporal detector learns, also what no single window shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_world import Rows, TinyWorld, output

from candor.errors import ConfigError
from candor.flow.stage import Inputs
from candor.ids.config import ScoreTask, TemporalConfig, TemporalTask, TrainingConfig
from candor.ids.experiment import resolve
from candor.ids.models.temporal import Temporal, histories
from candor.ids.pipeline import plan
from candor.ids.scoring import read_scores, window_rows
from candor.ids.temporal import load_temporal, score_temporal, score_windows, train_temporal
from candor.learn.metrics import ranking_metrics

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


def test_the_stages_train_and_score_every_window_and_tell_attacks(world: TinyWorld, tmp_path):
    rows = Rows()
    trained, scored = output(tmp_path / "a", rows), output(tmp_path / "b")
    graphs = {"build_train": world.build_train, "build_test": world.build_test}
    train_temporal(TemporalTask(model=MODEL, training=TRAINING, seed=1), Inputs(graphs), trained)
    assert rows.curve("train_loss")[-1] < 0.7 * rows.curve("train_loss")[0]
    inputs = Inputs({**graphs, "temporal": trained.path})
    score_temporal(ScoreTask(variant="student", seed=1, device="cpu", threads=1), inputs, scored)
    table = read_scores([scored.path / "scores.parquet"])
    assert len(table) == len(world.store("val")) + len(world.store("test"))
    val = table.filter(table["split"] == "val")
    assert ranking_metrics(val["y"].to_numpy(), val["score"].to_numpy())["auroc"][0] > 0.9
    again = score_windows(load_temporal(trained.path), world.build_train / "val", torch.device("cpu"))
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
