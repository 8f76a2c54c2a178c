"""Every member of the model family learns: loss falls, and toy windows are told apart."""

import numpy as np
import pytest
import torch
from tiny_world import Rows, TinyWorld, output

from candor.ids.config import GatConfig, TrainingConfig, VgaeConfig
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.nodes import WorstNodes
from candor.ids.models.training import GatTraining, VgaeTraining
from candor.ids.models.vgae import Vgae, window_errors
from candor.learn.checkpoints import seed_everything
from candor.learn.fit import fit
from candor.learn.metrics import ranking_metrics

OPTIONS = TrainingConfig(max_epochs=3, learning_rate=1e-2, threads=1, device="cpu", patience=0)
FAMILY = [
    {"conv": {"kind": "gat"}, "norm": "graph"},
    {"conv": {"kind": "gatv2"}, "inputs": {"ids": {"kind": "hash", "width": 8}}},
    {"conv": {"kind": "transformer"}, "inputs": {"ids": {"kind": "none"}}},
    {"conv": {"kind": "gps"}},
    {"conv": {"kind": "gps"}, "norm": "graph", "inputs": {"ids": {"kind": "hash", "width": 8}}},
]
HEADS = [
    {"jumping_knowledge": "lstm", "pooling": ["mean", "max", "std"]},
    {"jumping_knowledge": "max", "pooling": ["softmax", "sum"]},
    {"jumping_knowledge": "last", "pooling": ["min", "mean"]},
]


def auroc(y: np.ndarray, score: np.ndarray) -> float:
    return float(ranking_metrics(y, score)["auroc"][0])


@pytest.mark.parametrize("changes", [*FAMILY, *HEADS], ids=str)
def test_a_classifier_of_every_kind_learns_to_tell_attack_windows(world: TinyWorld, tmp_path, changes):
    config, rows = GatConfig.model_validate({"hidden": 16, "layers": 2, **changes}), Rows()

    def build() -> GatTraining:
        seed_everything(3)
        return GatTraining(Gat(config, world.inputs(config.inputs)), OPTIONS, 3)

    loaders = world.loader("train", shuffle=True), world.loader("val")
    module, _ = fit(build, *loaders, OPTIONS, output(tmp_path, rows))
    assert rows.curve("train_loss")[-1] < 0.7 * rows.curve("train_loss")[0]
    val = world.store("val")
    with torch.inference_mode():
        scored = attack_probability(module.model(world.batch("val", list(range(len(val))))).logits_GC)
    assert auroc(val.y_G, scored.numpy()) > 0.95


@pytest.mark.parametrize("changes", FAMILY, ids=str)
def test_an_autoencoder_of_every_kind_learns_benign_windows_and_finds_attacks_odd(
    world: TinyWorld, tmp_path, changes
):
    config, rows = VgaeConfig.model_validate({"hidden": 16, "layers": 2, "latent": 8, **changes}), Rows()
    options = OPTIONS.model_copy(update={"max_epochs": 6})

    def build() -> VgaeTraining:
        seed_everything(3)
        return VgaeTraining(Vgae(config, world.inputs(config.inputs)), options, 3)

    loaders = world.loader("train", only=0, shuffle=True), world.loader("val", only=0)
    module, _ = fit(build, *loaders, options, output(tmp_path, rows))
    errors = rows.curve("val_feature_error")
    assert errors[-1] < 0.8 * errors[0]
    val = world.store("val")
    batch = world.batch("val", list(range(len(val))))
    with torch.inference_mode():
        odd = window_errors(module.model, module.model(batch), batch).feature_G
    assert auroc(val.y_G, odd.numpy()) > 0.9


def test_the_worst_nodes_are_those_behind_a_windows_error_and_carry_their_ids(world: TinyWorld):
    torch.manual_seed(0)
    model = Vgae(VgaeConfig(hidden=16, layers=2, latent=8, worst_nodes=3), world.inputs()).eval()
    collected = WorstNodes(3)
    folder = world.build_train / "val"
    from candor.ids.scoring import window_rows

    errors = []
    with torch.inference_mode():
        for indices in ([4, 7, 1], [0, 2, 3]):
            batch = world.batch("val", indices)
            out = model(batch)
            collected.add(out, batch)
            errors.append((indices, window_errors(model, out, batch).feature_G))
    rows = window_rows(folder, "val")
    table = collected.table(rows)
    assert len(table) == 6 * 3
    store = world.store("val")
    for indices, feature in errors:
        for index, expected in zip(indices, feature.tolist(), strict=True):
            place = rows.row(index, named=True)
            mine = table.filter((table["capture"] == place["capture"]) & (table["window"] == place["window"]))
            assert mine["feature_error"].mean() == pytest.approx(expected, rel=1e-5)
            assert mine["feature_error"].is_sorted(descending=True)
            assert set(mine["node_id"].to_list()) <= set(store.gather([index]).node_id_N.tolist())
