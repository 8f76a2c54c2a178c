"""One epoch of the GAT student on CPU: Candor's loader and step, against the plain PyG and Lightning loop.

The plain loop is eager: ``torch.compile`` made its step 25.5 → 24.6 ms here, behind minutes for the first
(docs/batches-and-steps.md).
"""

from __future__ import annotations

import tempfile
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import lightning as L
import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

from benchmarks import batches, traffic
from benchmarks.timing import Measurement, save
from candor.ids.config import GatConfig, Gatv2Conv, LookupIds, NodeInputConfig, TrainingConfig
from candor.ids.graphs.features import EDGE_FEATURES, NODE_FEATURES, columns
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.store import GraphStore
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.models import fused_batches
from candor.ids.models.blocks import NodeInput
from candor.ids.models.fused_attention import FusedGatv2
from candor.ids.models.gat import Gat
from candor.ids.models.training import GatTraining

FRAMES, EPOCHS, REPEATS = 200_000, 3, 3


def student(store: GraphStore) -> Gat:
    """presets/models/small.yaml, initialised the same each time."""
    torch.manual_seed(0)
    nodes, edges = Moments(len(NODE_FEATURES)), Moments(len(EDGE_FEATURES))
    nodes.add(store.x_ND)
    edges.add(store.edge_attr_E11)
    aware = torch.zeros(len(NODE_FEATURES), dtype=torch.bool)
    aware[columns("aware")] = True
    inputs = NodeInputConfig(ids=LookupIds(width=8))
    config = GatConfig(hidden=32, layers=2, inputs=inputs, conv=Gatv2Conv(num_heads=2))
    vocabulary = Vocabulary.fit(np.asarray(store.node_id_N), np.asarray(store.node_y_N))
    entry = NodeInput(
        inputs,
        vocabulary=vocabulary,
        nodes=nodes.scaler(NODE_FEATURES),
        edges=edges.scaler(EDGE_FEATURES),
        aware_D=aware,
    )
    return Gat(config, entry)


class Timed(GatTraining):
    """Keeps the loss of every step and the seconds of every epoch."""

    def __init__(self, model: Gat) -> None:
        super().__init__(model, TrainingConfig(max_epochs=EPOCHS, device="cpu"), seed=1)
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._begin = time.perf_counter()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(float(loss.detach()))
        return loss

    def on_train_epoch_end(self) -> None:
        self.seconds.append(time.perf_counter() - self._begin)


class Plain(Timed):
    """The same over PyG batches, with Lightning's log and torch's AdamW as they come."""

    def configure_optimizers(self) -> Any:
        (optimizer,), schedules = super().configure_optimizers()
        optimizer.defaults["fused"] = None
        for group in optimizer.param_groups:
            group["fused"] = None
        return [optimizer], schedules

    def record(self, name: str, value: torch.Tensor, graphs: int) -> None:
        self.log(name, value.detach(), on_step=False, on_epoch=True, batch_size=graphs)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        view = SimpleNamespace(
            **{n: batch[n] for n in ("x", "node_id", "edge_index", "edge_attr", "batch", "y")},
            num_graphs=batch.num_graphs,
        )
        return super().training_step(view, batch_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device)


def plain_torch() -> AbstractContextManager[Any]:
    """The model's own compiled passes switched off: it is put together from torch's and PyG's parts."""
    return patch.object(fused_batches, "on_cpu", return_value=False)


def train(module: Timed, loader: Any) -> Timed:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, loader)
    return module


def run() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        store = traffic.store(Path(folder) / "store", FRAMES)
        graphs: list[Data] = [store[i] for i in range(len(store))]
        model = student(store)
        state = {k: v.clone() for k, v in model.state_dict().items()}
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        gap = 0.0
        for _ in range(REPEATS):
            curves = {}
            for name in seconds:
                model.load_state_dict(state)
                loader = (
                    batches.ours(store) if name == "ours" else batches.pyg(graphs, len(batches.ours(store)))
                )
                for conv in model.convs.convs:  # The same parameters; the plain loop takes PyG's own passes.
                    conv.__class__ = FusedGatv2 if name == "ours" else GATv2Conv
                with plain_torch() if name == "plain" else nullcontext():
                    done = train((Timed if name == "ours" else Plain)(model), loader)
                seconds[name] += done.seconds[1:]
                curves[name] = np.array(done.losses)
            gap = max(gap, float(np.abs(curves["ours"] - curves["plain"]).max()))
    ours, plain = median(seconds["ours"]), median(seconds["plain"])
    figures = {
        "s/epoch": round(ours, 3),
        "plain": round(plain, 3),
        "largest difference of a loss": f"{gap:.1e}",
        "torch threads": torch.get_num_threads(),
    }
    reached = plain / ours if gap < 1e-4 else 0.0
    return [
        Measurement("gat_epoch", reached, 2.5, "× plain PyG + Lightning", "attention arithmetic", figures)
    ]


if __name__ == "__main__":
    save(run())
