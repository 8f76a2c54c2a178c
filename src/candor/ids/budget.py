"""Stage: the batch budget of a model, found by real training steps on batches of the training windows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.config import BudgetTask, GatConfig, TemporalConfig, TrainingConfig, VgaeConfig
from candor.ids.graphs.store import GraphStore
from candor.ids.models.blocks import NodeInput
from candor.ids.models.gat import Gat
from candor.ids.models.store import node_input
from candor.ids.models.temporal import Temporal, TemporalTraining
from candor.ids.models.training import GatTraining, VgaeTeacher, VgaeTraining, WindowTeacher
from candor.ids.models.vgae import Vgae
from candor.ids.samples import Samples
from candor.learn.batching import GraphBatch
from candor.learn.budget import Found, Probed, Range, find_budget, fullest_batches, memory_limit
from candor.learn.checkpoints import seed_everything
from candor.learn.fit import use_threads
from candor.learn.probing import IsolatedProbe

FILE = "budget.json"
_SEED = 0
_NAMES = {VgaeConfig: "vgae", GatConfig: "gat", TemporalConfig: "temporal"}
_Model = VgaeConfig | GatConfig | TemporalConfig
ModelT = TypeVar("ModelT", Vgae, Gat, Temporal)


def budget(config: BudgetTask, inputs: Inputs, out: Output) -> Result:
    """The largest node and edge budget whose steps fit in memory. Reads train/ of build_train; writes budget.json.

    A VGAE is tried on benign windows, which are all it trains on, a temporal detector on sequences of windows. Raises
    DataError if there are none, ConfigError if the largest sample alone does not fit, StageFailed if a step fails for
    another reason than memory.
    """
    spec = _Spec(config, inputs.path("build_train"))
    samples = spec.samples()
    within = Range.of(samples.node_counts, samples.edge_counts)
    limit = _limit(config)
    probes: list[Probed] = []
    with IsolatedProbe(prepare, spec, limit_bytes=limit, device=config.device) as probe:

        def told(max_nodes: int, max_edges: int) -> Probed:
            probes.append(probe(max_nodes, max_edges))
            word = "fits" if probes[-1].fits else "does not fit"
            # A search doubles up to the largest and then halves: how many steps it takes is not known before.
            done = len(probes) / (len(probes) + 3)
            out.progress(done, 1, f"{max_nodes} nodes, {max_edges} edges: {word}")
            return probes[-1]

        found = find_budget(told, within, safety=config.search.safety, tolerance=config.search.tolerance)
    facts = _facts(config, samples, found, limit)
    (out.path / FILE).write_text(json.dumps({**facts, "probes": [asdict(p) for p in found.probes]}, indent=2))
    return Result(facts)


def with_budget(training: TrainingConfig, inputs: Inputs) -> TrainingConfig:
    """The training config with the budget that its budget task found, where it asks for one."""
    if training.batch_budget == "fixed":
        return training
    found = json.loads((inputs.path("budget") / FILE).read_text())
    return training.model_copy(update={"max_nodes": found["max_nodes"], "max_edges": found["max_edges"]})


@dataclass(frozen=True)
class _Spec:
    """What a probe's process builds its model and batches from."""

    config: BudgetTask
    graphs: Path

    def samples(self) -> Samples:
        """What the model trains on."""
        return Samples.of(self.config.model, self.graphs)


def prepare(spec: _Spec) -> Steps:
    """Model, optimizer and samples, after a step on the smallest batch there is."""
    use_threads(spec.config.threads)
    steps = Steps(spec)
    steps.take(np.argsort(steps.samples.node_counts)[:2])
    return steps


class Steps:
    """Training steps on the fullest batches of a budget, as the training stages take them."""

    def __init__(self, spec: _Spec) -> None:
        config, self.samples = spec.config, spec.samples()
        self.device = torch.device(config.device)
        training = TrainingConfig(precision=config.precision, device=config.device)
        seed_everything(_SEED)
        self.module = module_of(config, training, spec.graphs).to(self.device).train()
        (self.optimizer,), _ = self.module.configure_optimizers()
        self.clip = training.gradient_clip
        self.half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(config.precision)
        self.scaler = torch.amp.GradScaler(config.device, enabled=config.precision == "16-mixed")

    def __call__(self, max_nodes: int, max_edges: int) -> None:
        rng = np.random.default_rng(_SEED)
        nodes_G, edges_G = self.samples.node_counts, self.samples.edge_counts
        for batch in fullest_batches(nodes_G, edges_G, max_nodes, max_edges, rng):
            self.take(batch)

    def take(self, idx: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """One step: gather, forward, backward, clip, optimizer."""
        batch = GraphBatch.of(self.samples.store.gather(self.samples.windows(idx))).to(self.device)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            loss = self.module.training_step(batch, 0)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # An asynchronous shortage belongs to this step.


def module_of(
    config: BudgetTask, training: TrainingConfig, graphs: Path
) -> VgaeTraining | GatTraining | TemporalTraining:
    """The training module of the model, with an untrained teacher where it learns from one."""
    match config.model:
        case VgaeConfig() as vgae:
            return VgaeTraining(_model(Vgae, vgae, graphs), training, _SEED, _vgae_teacher(config, graphs))
        case GatConfig() as gat:
            return GatTraining(_model(Gat, gat, graphs), training, _SEED, _window_teacher(config, graphs))
        case TemporalConfig() as temporal:
            model = _model(Temporal, temporal, graphs)
            return TemporalTraining(model, training, _SEED, _window_teacher(config, graphs))


def _model(kind: Callable[[Any, NodeInput], ModelT], config: _Model, graphs: Path) -> ModelT:
    return kind(config, node_input(config.inputs, graphs))


def _vgae_teacher(config: BudgetTask, graphs: Path) -> VgaeTeacher | None:
    if not isinstance(config.teacher, VgaeConfig) or config.distillation is None:
        return None
    return VgaeTeacher(_model(Vgae, config.teacher, graphs), config.distillation)


def _window_teacher(config: BudgetTask, graphs: Path) -> WindowTeacher | None:
    """A teacher of sequences of another length is asked before training only, so its logits are at hand."""
    learns, cached = config.distillation, None
    if learns is None:
        return None
    match config.teacher:
        case GatConfig() as gat:
            return WindowTeacher(_model(Gat, gat, graphs), learns)
        case TemporalConfig() as temporal:
            if learns.teacher_logits == "cached":
                cached = torch.zeros(len(GraphStore.open(graphs / "train")), 2)
            return WindowTeacher(_model(Temporal, temporal, graphs), learns, cached)
    return None


def _limit(config: BudgetTask) -> int | None:
    if config.search.memory_gb is not None:
        return int(config.search.memory_gb * 1e9)
    return memory_limit() if config.device == "cpu" else None


def _facts(config: BudgetTask, samples: Samples, found: Found, limit: int | None) -> dict[str, Json]:
    device = torch.cuda.get_device_name() if config.device == "cuda" else "CPU"
    total = torch.cuda.mem_get_info()[1] if config.device == "cuda" else None
    nodes, edges = int(samples.node_counts.sum()), int(samples.edge_counts.sum())
    return {
        "model": _NAMES[type(config.model)],
        "scale": config.scale,
        "precision": config.precision,
        "device": config.device,
        "device_name": device,
        "max_nodes": found.max_nodes,
        "max_edges": found.max_edges,
        "steps_per_epoch": math.ceil(max(nodes / found.max_nodes, edges / found.max_edges)),
        "whole_set_fits": found.whole,
        "limit_bytes": limit or total,
        "peak_bytes": found.largest.peak_bytes,
        "safety": config.search.safety,
        "tried": len(found.probes),
    }
