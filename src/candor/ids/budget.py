"""Stage: the batch budget of a model, found by real training steps on batches of the training windows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from candor.errors import DataError
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.config import BudgetTask, GatConfig, TrainingConfig, VgaeConfig
from candor.ids.graphs.store import GraphStore
from candor.ids.models.gat import Gat
from candor.ids.models.store import node_input
from candor.ids.models.training import GatTraining, VgaeTeacher, VgaeTraining, WindowTeacher
from candor.ids.models.vgae import Vgae
from candor.learn.batching import GraphBatch
from candor.learn.budget import Found, Probed, Range, find_budget, fullest_batches, memory_limit
from candor.learn.checkpoints import seed_everything
from candor.learn.fit import use_threads
from candor.learn.probing import IsolatedProbe

FILE = "budget.json"
_SEED = 0


def budget(config: BudgetTask, inputs: Inputs, out: Output) -> Result:
    """The largest node and edge budget whose steps fit in memory. Reads train/ of build_train; writes budget.json.

    A VGAE is tried on benign windows, which are all it trains on. Raises DataError if there are none, ConfigError if
    the largest window alone does not fit, StageFailed if a step fails for another reason than memory.
    """
    spec = _Spec(config, inputs.path("build_train"))
    store = spec.store()
    within = Range.of(store.node_counts, store.edge_counts)
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
    facts = _facts(config, store, found, limit)
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

    def store(self) -> GraphStore:
        """The windows that the model trains on."""
        store = GraphStore.open(self.graphs / "train")
        if isinstance(self.config.model, VgaeConfig):
            store = store.subset(np.flatnonzero(store.y_G == 0))
        if not len(store):
            raise DataError("the training split has no window to try", place=str(self.graphs))
        return store


def prepare(spec: _Spec) -> Steps:
    """Model, optimizer and windows, after a step on the smallest batch there is."""
    use_threads(spec.config.threads)
    steps = Steps(spec)
    steps.take(np.argsort(steps.store.node_counts)[:2])
    return steps


class Steps:
    """Training steps on the fullest batches of a budget, as the training stages take them."""

    def __init__(self, spec: _Spec) -> None:
        config, self.store = spec.config, spec.store()
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
        nodes_G, edges_G = self.store.node_counts, self.store.edge_counts
        for batch in fullest_batches(nodes_G, edges_G, max_nodes, max_edges, rng):
            self.take(batch)

    def take(self, idx: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """One step: gather, forward, backward, clip, optimizer."""
        batch = GraphBatch.of(self.store.gather(idx)).to(self.device)
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


def module_of(config: BudgetTask, training: TrainingConfig, graphs: Path) -> VgaeTraining | GatTraining:
    """The training module of the model, with an untrained teacher where it learns from one."""
    model, teacher, learns = config.model, config.teacher, config.distillation
    if isinstance(model, VgaeConfig):
        vgae_teacher = None
        if isinstance(teacher, VgaeConfig) and learns is not None:
            vgae_teacher = VgaeTeacher(Vgae(teacher, node_input(teacher.inputs, graphs)), learns)
        return VgaeTraining(Vgae(model, node_input(model.inputs, graphs)), training, _SEED, vgae_teacher)
    gat_teacher = None
    if isinstance(teacher, GatConfig) and learns is not None:
        gat_teacher = WindowTeacher(Gat(teacher, node_input(teacher.inputs, graphs)), learns)
    return GatTraining(Gat(model, node_input(model.inputs, graphs)), training, _SEED, gat_teacher)


def _limit(config: BudgetTask) -> int | None:
    if config.search.memory_gb is not None:
        return int(config.search.memory_gb * 1e9)
    return memory_limit() if config.device == "cpu" else None


def _facts(config: BudgetTask, store: GraphStore, found: Found, limit: int | None) -> dict[str, Json]:
    device = torch.cuda.get_device_name() if config.device == "cuda" else "CPU"
    total = torch.cuda.mem_get_info()[1] if config.device == "cuda" else None
    nodes, edges = int(store.node_counts.sum()), int(store.edge_counts.sum())
    kind = "vgae" if isinstance(config.model, VgaeConfig) else "gat"
    return {
        "model": kind,
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
