"""The stages of the temporal detector (models/temporal.py): training on sequences of windows, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pydantic import TypeAdapter

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import ScoreTask, TemporalConfig, TemporalTask
from candor.ids.graphs.store import GraphStore
from candor.ids.loaders import graph_loader
from candor.ids.models.gat import attack_probability
from candor.ids.models.store import node_input, save_model
from candor.ids.models.temporal import SequenceSampler, Temporal, TemporalTeacher, TemporalTraining, histories
from candor.ids.scoring import score_frame, window_rows
from candor.learn.checkpoints import count_parameters, load_weights, seed_everything
from candor.learn.fit import accelerator, fit, use_threads
from candor.learn.loading import GraphLoader


def train_temporal(config: TemporalTask, inputs: Inputs, out: Output) -> Result:
    """A temporal detector on sequences of training windows, balanced; early stopping by validation ones.

    Reads train/ and val/ of ``build_train``, and ``teacher``, a temporal detector, where there is one.

    Raises:
        DataError: the training windows are of one class only.
    """
    graphs = inputs.path("build_train")
    store, val = (GraphStore.open(graphs / split) for split in ("train", "val"))
    benign, attack = np.flatnonzero(store.y_G == 0), np.flatnonzero(store.y_G != 0)
    if not len(benign) or not len(attack):
        raise DataError(
            f"the training split has {len(attack)} attack windows of {len(store)}",
            hint="A classifier needs both kinds.",
        )
    # The rarer class as often as the other: an attack at hand is a small part of the traffic.
    rare, common = sorted((benign, attack), key=len)
    chosen = np.concatenate([np.resize(rare, len(common)), common])
    train_by = _sampler(store, graphs / "train", config.model, chosen, shuffle=True, seed=config.seed)
    val_by = _sampler(val, graphs / "val", config.model, np.arange(len(val)), shuffle=False, seed=config.seed)
    loaders = (graph_loader(store, train_by, config.training), graph_loader(val, val_by, config.training))

    teacher = None
    if config.distillation is not None:
        teacher = _teacher(load_temporal(inputs.path("teacher")), config, graphs / "train")

    def build() -> TemporalTraining:
        seed_everything(config.seed, 6)
        inputs_of = node_input(config.model.inputs, graphs)
        return TemporalTraining(Temporal(config.model, inputs_of), config.training, config.seed, teacher)

    module, report = fit(build, *loaders, config.training, out)
    assert isinstance(module, TemporalTraining)
    save_model(out.path, module.model, graphs)
    return Result(
        {
            "parameters": count_parameters(module.model),
            "epochs": report.epochs,
            "best_epoch": report.best_epoch,
            "best_val_loss": round(report.best_loss, 6),
            "resumed_from": report.resumed_from,
        }
    )


def score_temporal(config: ScoreTask, inputs: Inputs, out: Output) -> Result:
    """Attack probability of every validation and test window, from it and those before it: ``scores.parquet``."""
    use_threads(config.threads)
    device = torch.device(accelerator(config.device))
    model = load_temporal(inputs.path("temporal")).to(device)
    tables = []
    folders = {"val": inputs.path("build_train") / "val", "test": inputs.path("build_test") / "test"}
    for done, (split, folder) in enumerate(folders.items()):
        out.progress(done, len(folders), f"sequences of {split} windows")
        rows, score = window_rows(folder, split), score_windows(model, folder, device)
        tables.append(score_frame(rows, score, detector="temporal", variant=config.variant, seed=config.seed))
    pl.concat(tables).write_parquet(out.path / "scores.parquet")
    return Result({"parameters": count_parameters(model), "windows": sum(len(t) for t in tables)})


def score_windows(model: Temporal, folder: Path, device: torch.device) -> np.ndarray:
    """Attack probability of every window of a GraphStore folder, in its order."""
    return attack_probability(_logits(model, folder, device)).numpy()


@torch.inference_mode()
def _logits(model: Temporal, folder: Path, device: torch.device) -> torch.Tensor:
    """Two logits of every window of a GraphStore folder, in its order."""
    store = GraphStore.open(folder)
    sampler = _sampler(store, folder, model.config, np.arange(len(store)), shuffle=False, seed=0)
    batches = GraphLoader(store, sampler)
    return torch.cat([torch.zeros(0, 2), *(model(batch.to(device)).float().cpu() for batch in batches)])


def _teacher(model: Temporal, config: TemporalTask, folder: Path) -> TemporalTeacher:
    """The teacher, with its logits of every training window if they are to be cached."""
    assert config.distillation is not None
    if config.distillation.teacher_logits == "live":
        return TemporalTeacher(model, config.distillation)
    device = torch.device(accelerator(config.training.device))
    return TemporalTeacher(model, config.distillation, _logits(model.to(device), folder, device).clone())


def load_temporal(folder: Path) -> Temporal:
    """Read what :func:`train_temporal` wrote."""
    given = json.loads((folder / "model.json").read_text())
    config = TypeAdapter(TemporalConfig).validate_python(given)
    model = Temporal(config, node_input(config.inputs, folder))
    load_weights(folder / "weights.safetensors", model)
    return model.eval()


def _sampler(
    store: GraphStore, folder: Path, config: TemporalConfig, chosen: np.ndarray, *, shuffle: bool, seed: int
) -> SequenceSampler:
    number_G = window_rows(folder, "val")["window"].to_numpy()
    history_GT = histories(store.window_G, number_G, config.windows)
    return SequenceSampler(history_GT, chosen, config.batch_sequences, shuffle=shuffle, seed=seed)
