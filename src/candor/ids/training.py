"""The stages that train: autoencoder, curriculum, fusion. None of them is given a test window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from candor.errors import DataError
from candor.flow.stage import Inputs, Json, Output, Result, Stage
from candor.ids.budget import with_budget
from candor.ids.config import (
    AutoencoderTask,
    CurriculumConfig,
    CurriculumTask,
    DistillationConfig,
    FusionConfig,
    FusionTask,
    TemporalTask,
    TrainingConfig,
)
from candor.ids.fusion.family import train, untrained
from candor.ids.fusion.picture import policy_table
from candor.ids.fusion.policy import FusionData, Policy
from candor.ids.fusion.states import AnomalyScale, WindowViews, view_windows
from candor.ids.fusion.validation import Validation
from candor.ids.graphs.store import GraphStore
from candor.ids.loaders import graph_loader
from candor.ids.models.gat import Gat
from candor.ids.models.store import load_gat, load_vgae, node_input, save_model
from candor.ids.models.training import GatTraining, Miner, VgaeTeacher, VgaeTraining, WindowTeacher
from candor.ids.models.vgae import Vgae, window_errors
from candor.learn.batching import GraphBatch
from candor.learn.checkpoints import count_parameters, load_weights, save_weights, seed_everything
from candor.learn.curriculum import CurriculumSampler, Schedule
from candor.learn.fit import FitReport, accelerator, fit, use_threads
from candor.learn.loading import GraphLoader
from candor.learn.profiling import PARTS, StepProfile
from candor.learn.ranks import Rank, agreed, rank, together
from candor.learn.sampling import BudgetSampler

Trained = AutoencoderTask | CurriculumTask | TemporalTask

#: Quantile of the benign validation anomaly from which fusion.anomaly_margin is measured.
_BENIGN_QUANTILE = 0.999
#: Budget of a batch that is only scored.
SCORING_NODES, SCORING_EDGES = 16384, 65536


def train_autoencoder(config: AutoencoderTask, inputs: Inputs, out: Output) -> Result:
    """A VGAE on benign training windows; early stopping by benign validation windows. Reads train/ and val/."""
    return on_devices(_train_autoencoder, config, inputs, out)


def _train_autoencoder(config: AutoencoderTask, inputs: Inputs, out: Output) -> Result:
    graphs = inputs.path("build_train")
    sets = {}
    for split in ("train", "val"):
        store = GraphStore.open(graphs / split)
        benign = np.flatnonzero(store.y_G == 0)
        if not len(benign):
            raise DataError(
                f"the {split} split has no benign window",
                hint="An autoencoder learns from benign traffic alone.",
            )
        sets[split] = store.subset(benign)
    training = with_budget(config.training, inputs)
    train_set = loader(sets["train"], training, shuffle=True, seed=config.seed)
    val_set = loader(sets["val"], training, shuffle=False, seed=config.seed)
    teacher = None
    if config.distillation is not None:
        teacher = VgaeTeacher(load_vgae(inputs.path("teacher")), config.distillation)

    def build() -> VgaeTraining:
        seed_everything(config.seed)
        return VgaeTraining(
            Vgae(config.model, node_input(config.model.inputs, graphs)), training, config.seed, teacher
        )

    module, report = fit(build, train_set, val_set, training, out)
    assert isinstance(module, VgaeTraining)
    save_model(out.path, module.model, graphs)
    return Result(summary(module.model, report, training))


def train_curriculum(config: CurriculumTask, inputs: Inputs, out: Output) -> Result:
    """A GAT on all training windows, benign ones chosen by the errors of the lane's VGAE. Reads train/ and val/."""
    return on_devices(_train_curriculum, config, inputs, out)


def _train_curriculum(config: CurriculumTask, inputs: Inputs, out: Output) -> Result:
    graphs = inputs.path("build_train")
    store, val = (GraphStore.open(graphs / split) for split in ("train", "val"))
    y_G, attack_weight = store.y_G, benign_per_attack(store.y_G)
    training, curriculum = with_budget(config.training, inputs), config.curriculum
    use_threads(training.threads)
    hardness_G = agreed(vgae_errors(load_vgae(inputs.path("vgae")), store, training))
    sizes = (store.node_counts, store.edge_counts)
    sampler = curriculum_sampler(curriculum, training, y_G, hardness_G, sizes, config.seed)
    teacher = None
    if config.distillation is not None:
        teacher = _gat_teacher(load_gat(inputs.path("teacher")), config.distillation, store, training)
    miner = None
    if curriculum.refresh_epochs:
        miner = Miner(curriculum, sampler, y_G, hardness_G, lambda: scoring_batches(store))

    def build() -> GatTraining:
        seed_everything(config.seed, 1)
        return GatTraining(
            Gat(config.model, node_input(config.model.inputs, graphs)),
            training,
            config.seed,
            teacher,
            attack_weight=attack_weight,
            miner=miner,
        )

    val_set = loader(val, training, shuffle=False, seed=config.seed)
    module, report = fit(build, graph_loader(store, sampler, training), val_set, training, out)
    assert isinstance(module, GatTraining)
    save_model(out.path, module.model, graphs)
    return Result(summary(module.model, report, training))


def train_fusion(config: FusionTask, inputs: Inputs, out: Output) -> Result:
    """A fusion policy over both detectors' views of the training windows; the VGAE's scale from benign validation windows.

    Reads train/ and val/.
    """
    graphs = inputs.path("build_train")
    vgae, gat = load_vgae(inputs.path("vgae")), load_gat(inputs.path("gat"))
    store, val = (GraphStore.open(graphs / split) for split in ("train", "val"))
    device = torch.device(accelerator(config.training.device))
    use_threads(config.training.threads)
    views, val_views = (
        [
            view_windows(vgae, gat, scoring_batches(s), len(s), device, as_unknown=hidden)
            for hidden in (False, True)
        ]
        for s in (store, val)
    )
    benign = val_views[0].raw_G7[val.y_G == 0, :3]
    scale = AnomalyScale.fit(benign, vgae.config.score_weights, _BENIGN_QUANTILE, config.model.anomaly_margin)
    data = _shown_both_ways(store, views, scale)
    validation = Validation.of(_shown_both_ways(val, val_views, scale), config.model)
    policy = train(data, config.model, config.seed, out, validation)
    save_weights(out.path / "weights.safetensors", policy, kind=config.model.kind)
    (out.path / "model.json").write_text(config.model.model_dump_json(indent=2))
    (out.path / "anomaly_scale.json").write_text(json.dumps(asdict(scale), indent=2))
    names = np.array([*store.meta["attacks"], "attack"], dtype=object)  # -1, no family, takes the last.
    family_G = np.where(store.y_G != 0, names[store.attack_G.astype(np.int64)], "")
    policy_table(policy, data, np.tile(family_G, 2)).write_parquet(out.path / "policy.parquet")
    alpha_G = policy.weight(data.states_GS, data.gat_G, data.vgae_G)
    attack = data.y_G != 0
    return Result(
        {
            "parameters": count_parameters(policy),
            "mean_weight_benign": round(float(alpha_G[~attack].mean()), 4),
            "mean_weight_attack": round(float(alpha_G[attack].mean()), 4),
        }
    )


def load_fusion(folder: Path) -> tuple[Policy, AnomalyScale]:
    """Policy and anomaly scale of a fusion artifact."""
    config: FusionConfig = TypeAdapter(FusionConfig).validate_json((folder / "model.json").read_text())
    policy = untrained(config)
    load_weights(folder / "weights.safetensors", policy)
    scale = TypeAdapter(AnomalyScale).validate_json((folder / "anomaly_scale.json").read_text())
    return policy.eval(), scale


def _shown_both_ways(store: GraphStore, views: list[WindowViews], scale: AnomalyScale) -> FusionData:
    """Every window as a known vehicle's and, behind them, as an unknown one's."""
    known, unknown = views
    return fusion_data(store, known, scale).with_views(fusion_data(store, unknown, scale, unfamiliar=True))


def fusion_data(
    store: GraphStore, views: WindowViews, scale: AnomalyScale, *, unfamiliar: bool = False
) -> FusionData:
    """What the policy trains on; a window is followed by the next one of its capture, the last one by itself."""
    capture_G = store.window_G["capture"]
    following = np.minimum(np.arange(len(store)) + 1, len(store) - 1)
    following = np.where(capture_G[following] == capture_G, following, np.arange(len(store)))
    return FusionData(
        views.states(scale),
        views.gat_probability,
        views.anomaly_probability(scale),
        store.y_G,
        following,
        np.full(len(store), unfamiliar),
    )


def scoring_batches(store: GraphStore) -> Iterator[GraphBatch]:
    """All windows of a store in order, in large batches."""
    sampler = BudgetSampler(
        store.node_counts,
        store.edge_counts,
        max_nodes=SCORING_NODES,
        max_edges=SCORING_EDGES,
        shuffle=False,
        seed=0,
    )
    return iter(GraphLoader(store, sampler))


def _gat_teacher(
    model: Gat, config: DistillationConfig, store: GraphStore, training: TrainingConfig
) -> WindowTeacher:
    """The teacher, with its logits of every training window if they are to be cached."""
    if config.teacher_logits == "live":
        return WindowTeacher(model, config)
    device = torch.device(accelerator(training.device))
    model.to(device)
    logits_GC = torch.empty(len(store), 2)
    with torch.inference_mode():
        for batch in scoring_batches(store):
            logits_GC[batch.index] = model(batch.to(device)).logits_GC.float().cpu()
    return WindowTeacher(model, config, logits_GC)


def on_devices(stage: Stage, config: Trained, inputs: Inputs, out: Output) -> Result:
    """A training stage in as many processes as it is to have devices. Raises what ``together`` does."""
    training = config.training
    return together(
        stage, config, inputs, out, processes=training.devices, device=accelerator(training.device)
    )


def benign_per_attack(y_G: NDArray[np.uint8]) -> float:
    """Benign windows for each attack window. Raises DataError where there are none of one kind."""
    attacks = int((y_G != 0).sum())
    if not attacks or attacks == len(y_G):
        raise DataError(
            f"the training split has {attacks} attack windows of {len(y_G)}",
            hint="A classifier needs both kinds.",
        )
    return (len(y_G) - attacks) / attacks


def curriculum_sampler(
    curriculum: CurriculumConfig,
    training: TrainingConfig,
    y_G: NDArray[np.uint8],
    hardness_G: NDArray[np.float64],
    sizes: tuple[NDArray[np.int64], NDArray[np.int64]],
    seed: int,
) -> CurriculumSampler:
    """The configured curriculum over training windows. ``sizes``: nodes and edges, ``[G]`` each, that a window costs."""
    return CurriculumSampler(
        Schedule(curriculum.start_ratio, round(curriculum.ramp * training.max_epochs), curriculum.hard_share),
        y_G,
        hardness_G,
        *sizes,
        max_nodes=training.max_nodes,
        max_edges=training.max_edges,
        seed=seed,
        min_steps_per_epoch=training.min_steps_per_epoch,
        rank=rank().number,
        world_size=rank().of,
    )


def vgae_errors(vgae: Vgae, store: GraphStore, training: TrainingConfig) -> NDArray[np.float64]:
    """Feature error of every window of a store, ``[G]``: what a curriculum starts from."""
    device = torch.device(accelerator(training.device))
    vgae.to(device)
    errors_G = np.empty(len(store))
    with torch.inference_mode():
        for batch in scoring_batches(store):
            batch = batch.to(device)
            errors = window_errors(vgae, vgae(batch), batch)
            errors_G[batch.index.cpu().numpy()] = errors.feature_G.cpu().numpy()
    return errors_G


def loader(store: GraphStore, training: TrainingConfig, *, shuffle: bool, seed: int) -> GraphLoader:
    """Batches of a store within the configured budget; shuffled ones are shared with those this process trains with."""
    share = rank() if shuffle else Rank()
    sampler = BudgetSampler(
        store.node_counts,
        store.edge_counts,
        max_nodes=training.max_nodes,
        max_edges=training.max_edges,
        shuffle=shuffle,
        seed=seed,
        min_steps_per_epoch=training.min_steps_per_epoch if shuffle else 1,
        rank=share.number,
        world_size=share.of,
    )
    return graph_loader(store, sampler, training)


def _shares(profile: StepProfile) -> dict[str, Json]:
    return {f"{part.replace(' ', '_')}_share": round(profile.share(part), 4) for part in PARTS}


def summary(model: nn.Module, report: FitReport, training: TrainingConfig) -> dict[str, Json]:
    """What a training stage tells of its model."""
    found: dict[str, Json] = {"max_nodes": training.max_nodes, "max_edges": training.max_edges}
    return {
        **(found if training.batch_budget == "auto" else {}),
        **(_shares(report.profile) if report.profile else {}),
        "parameters": count_parameters(model),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "best_val_loss": round(report.best_loss, 6),
        "resumed_from": report.resumed_from,
    }
