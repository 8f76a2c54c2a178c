"""The stages of the temporal detector (models/temporal.py): training on sequences of windows, and scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pydantic import TypeAdapter

from candor.flow.stage import Inputs, Output, Result
from candor.ids.budget import with_budget
from candor.ids.config import ScoreTask, TemporalConfig, TemporalTask
from candor.ids.graphs.store import GraphStore
from candor.ids.loaders import graph_loader
from candor.ids.models.gat import attack_probability
from candor.ids.models.store import load_vgae, node_input, save_model
from candor.ids.models.temporal import (
    SequenceSampler,
    Temporal,
    TemporalTraining,
    sequence_sizes,
)
from candor.ids.models.training import Miner, WindowTeacher
from candor.ids.samples import histories_of
from candor.ids.scoring import score_frame, window_rows
from candor.ids.training import (
    SCORING_EDGES,
    SCORING_NODES,
    benign_per_attack,
    curriculum_sampler,
    on_devices,
    summary,
    vgae_errors,
)
from candor.learn.batching import GraphBatch
from candor.learn.checkpoints import count_parameters, load_weights, seed_everything
from candor.learn.fit import accelerator, fit, use_threads
from candor.learn.loading import GraphLoader
from candor.learn.ranks import agreed
from candor.learn.sampling import BudgetSampler


def train_temporal(config: TemporalTask, inputs: Inputs, out: Output) -> Result:
    """A temporal detector on sequences of training windows, chosen by the curriculum; early stopping by validation ones.

    Reads train/ and val/ of ``build_train``; ``vgae``, the lane's autoencoder, by whose errors benign windows are chosen;
    ``teacher``, a temporal detector, where there is one; and ``budget`` where the batch budget is sought.

    Raises:
        DataError: the training windows are of one class only.
    """
    return on_devices(_train_temporal, config, inputs, out)


def _train_temporal(config: TemporalTask, inputs: Inputs, out: Output) -> Result:
    graphs, training = inputs.path("build_train"), with_budget(config.training, inputs)
    store, val = (GraphStore.open(graphs / split) for split in ("train", "val"))
    attack_weight = benign_per_attack(store.y_G)
    use_threads(training.threads)
    hardness_G = agreed(vgae_errors(load_vgae(inputs.path("vgae")), store, training))
    history_GT = histories_of(store, config.model)
    sizes = sequence_sizes(history_GT, store.node_counts, store.edge_counts)
    chosen = curriculum_sampler(config.curriculum, training, store.y_G, hardness_G, sizes, config.seed)
    loaders = (
        graph_loader(store, SequenceSampler(history_GT, chosen), training),
        graph_loader(val, _in_order(val, config.model, training.max_nodes, training.max_edges), training),
    )
    teacher, miner = None, None
    if config.distillation is not None:
        teacher = _teacher(load_temporal(inputs.path("teacher")), config, graphs / "train")
    if config.curriculum.refresh_epochs:
        batches = partial(_batches, store, config.model)
        miner = Miner(config.curriculum, chosen, store.y_G, hardness_G, batches)

    def build() -> TemporalTraining:
        seed_everything(config.seed, 6)
        model = Temporal(config.model, node_input(config.model.inputs, graphs))
        return TemporalTraining(
            model, training, config.seed, teacher, attack_weight=attack_weight, miner=miner
        )

    module, report = fit(build, *loaders, training, out)
    assert isinstance(module, TemporalTraining)
    save_model(out.path, module.model, graphs)
    return Result(summary(module.model, report, training))


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
    return attack_probability(_logits(model, GraphStore.open(folder), device)).numpy()


@torch.inference_mode()
def _logits(model: Temporal, store: GraphStore, device: torch.device) -> torch.Tensor:
    """Two logits of every window of a store, in its order."""
    batches = _batches(store, model.config)
    return torch.cat([torch.zeros(0, 2), *(model(batch.to(device)).float().cpu() for batch in batches)])


def _teacher(model: Temporal, config: TemporalTask, folder: Path) -> WindowTeacher:
    """The teacher, with its logits of every training window if they are to be cached."""
    assert config.distillation is not None
    if config.distillation.teacher_logits == "live":
        return WindowTeacher(model, config.distillation)
    device = torch.device(accelerator(config.training.device))
    logits_GC = _logits(model.to(device), GraphStore.open(folder), device)
    return WindowTeacher(model, config.distillation, logits_GC.clone())


def load_temporal(folder: Path) -> Temporal:
    """Read what :func:`train_temporal` wrote."""
    given = json.loads((folder / "model.json").read_text())
    config = TypeAdapter(TemporalConfig).validate_python(given)
    model = Temporal(config, node_input(config.inputs, folder))
    load_weights(folder / "weights.safetensors", model)
    return model.eval()


def _in_order(store: GraphStore, config: TemporalConfig, max_nodes: int, max_edges: int) -> SequenceSampler:
    """Every window once, in the order of the store."""
    history_GT = histories_of(store, config)
    sizes = sequence_sizes(history_GT, store.node_counts, store.edge_counts)
    packed = BudgetSampler(*sizes, max_nodes=max_nodes, max_edges=max_edges, shuffle=False, seed=0)
    return SequenceSampler(history_GT, packed)


def _batches(store: GraphStore, config: TemporalConfig) -> Iterator[GraphBatch]:
    return iter(GraphLoader(store, _in_order(store, config, SCORING_NODES, SCORING_EDGES)))
