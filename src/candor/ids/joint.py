"""The stages of a classifier over several domains (models/joint.py): training on all of them, scores of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.config import JointScoreTask, JointTask, TrainingConfig
from candor.ids.graphs.store import GraphStore
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.joint import JointTraining
from candor.ids.models.store import load_gat, node_input, save_model
from candor.ids.scoring import score_frame, window_rows
from candor.ids.training import loader, scoring_batches
from candor.learn.checkpoints import count_parameters, seed_everything
from candor.learn.fit import accelerator, fit, use_threads
from candor.learn.interleaving import InterleavedLoader
from candor.learn.loading import GraphLoader


def train_joint(config: JointTask, inputs: Inputs, out: Output) -> Result:
    """One classifier on the training windows of all domains; early stopping by the validation windows of all.

    Inputs: ``build_train.DOMAIN`` (train/, val/) each. Writes ``DOMAIN/`` for each: a whole classifier of that domain.

    Raises:
        DataError: the training windows of a domain are of one class only.
    """
    graphs = inputs.group("build_train")
    labels = {name: _labels(name, graphs[name]) for name in config.domains}
    loaders = {
        split: InterleavedLoader(
            {name: _loader(graphs[name] / split, config.training, config.seed) for name in config.domains},
            shuffle=split == "train",
            seed=config.seed,
        )
        for split in ("train", "val")
    }

    def build() -> JointTraining:
        seed_everything(config.seed, 7)
        first, *others = config.domains
        models = {first: Gat(config.model, node_input(config.model.inputs, graphs[first]))}
        for name in others:
            models[name] = models[first].serving(node_input(config.model.inputs, graphs[name]))
        weights = {name: float((y == 0).sum() / (y != 0).sum()) for name, y in labels.items()}
        return JointTraining(models, config.training, config.seed, weights)

    module, report = fit(build, loaders["train"], loaders["val"], config.training, out)
    assert isinstance(module, JointTraining)
    alone = 0
    for name in config.domains:
        model = module.models[name]
        assert isinstance(model, Gat)
        alone += count_parameters(model)
        (out.path / name).mkdir()
        save_model(out.path / name, model, graphs[name])
    return Result(
        {
            "parameters": count_parameters(module),
            "parameters_of_as_many_models": alone,
            "windows": {name: len(y) for name, y in labels.items()},
            "epochs": report.epochs,
            "best_epoch": report.best_epoch,
            "best_val_loss": round(report.best_loss, 6),
            "resumed_from": report.resumed_from,
        }
    )


def score_joint(config: JointScoreTask, inputs: Inputs, out: Output) -> Result:
    """Attack probability of every validation and test window of one domain: ``scores.parquet``, as detector ``gat``.

    Inputs: ``joint``, ``build_train`` (val/), ``build_test`` (test/).
    """
    use_threads(config.threads)
    device = torch.device(accelerator(config.device))
    model = load_gat(inputs.path("joint") / config.domain).to(device)
    tables = []
    for split, folder in (
        ("val", inputs.path("build_train") / "val"),
        ("test", inputs.path("build_test") / "test"),
    ):
        store = GraphStore.open(folder)
        score = np.zeros(len(store))
        with torch.inference_mode():
            for batch in scoring_batches(store):
                scored = attack_probability(model(batch.to(device)).logits_GC)
                score[batch.index.cpu().numpy()] = scored.cpu().numpy()
        rows = window_rows(folder, split)
        tables.append(score_frame(rows, score, detector="gat", variant=config.variant, seed=config.seed))
    pl.concat(tables).write_parquet(out.path / "scores.parquet")
    return Result({"parameters": count_parameters(model), "windows": sum(len(t) for t in tables)})


def _labels(name: str, graphs: Path) -> np.ndarray:
    y_G = GraphStore.open(graphs / "train").y_G
    if not y_G.any() or y_G.all():
        raise DataError(
            f"the training split of {name} has {int(y_G.sum())} attack windows of {len(y_G)}",
            hint="A classifier needs both kinds.",
        )
    return np.asarray(y_G)


def _loader(folder: Path, training: TrainingConfig, seed: int) -> GraphLoader:
    return loader(GraphStore.open(folder), training, shuffle=folder.name == "train", seed=seed)
