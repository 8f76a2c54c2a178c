"""PyGOD's graph outlier detectors on the same graphs: DOMINANT (Ding et al. 2019) and OCGNN (Wang et al. 2021).

Their networks and losses are PyGOD's own. Its detector classes are not used: they draw neighbours with a loader that needs
compiled extensions, and know one graph only. Here every batch is a few whole windows, and their dense adjacency is the
batch's, so DOMINANT judges a window beside its neighbours: alone it ranks worse (road_statgraph_reversed, AUC-PR 0.891 →
0.848). Both learn from benign training windows; a window's score is the mean over its worst nodes.

Legend: N nodes of a batch, D features, B windows of a batch, G windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from candor.errors import DataError, ExtraMissing
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.config import BaselinesConfig
from candor.ids.graphs.scaler import Scaler
from candor.ids.graphs.store import GraphStore
from candor.ids.scoring import score_frame, window_rows
from candor.learn.batching import GraphBatch
from candor.learn.checkpoints import count_parameters, save_weights, seed_everything

F64 = npt.NDArray[np.float64]

VARIANT: Final = "baseline"
_LEARNING_RATE: Final = 4e-3  # PyGOD's default.
_CLIP: Final = 8.0  # As the models of ours clip.


def baselines_pygod(config: BaselinesConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: scores of PyGOD's detectors on validation and test windows, ``scores.parquet``, and their weights.

    Raises:
        ExtraMissing: PyGOD is not installed. DataError: the training split has no benign window.
    """
    graphs = inputs.path("build_train")
    folders = {"val": graphs / "val", "test": inputs.path("build_test") / "test"}
    tables: list[pl.DataFrame] = []
    parameters: dict[str, Json] = {}
    for number, kind in enumerate(config.pygod):
        detector = Outliers(kind, config, graphs)

        def said(done: float, number: int = number, kind: str = kind) -> None:
            out.progress(number + done, len(config.pygod), kind)

        detector.fit(GraphStore.open(graphs / "train"), said)
        save_weights(out.path / f"{kind}.safetensors", detector.network)
        parameters[kind] = count_parameters(detector.network)
        for split, folder in folders.items():
            score = detector.score(GraphStore.open(folder))
            tables.append(score_frame(window_rows(folder, split), score, detector=kind, variant=VARIANT))
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    return Result({"parameters": parameters})


class Outliers:
    """One detector of PyGOD."""

    def __init__(self, kind: str, config: BaselinesConfig, graphs: Path) -> None:
        try:
            from pygod.nn import DOMINANTBase, OCGNNBase
        except ImportError as e:
            raise ExtraMissing("PyGOD is not installed", hint="Install candor[pygod].") from e
        seed_everything(config.seed, 7)
        self._config = config
        scaler = Scaler.from_json(json.loads((graphs / "scaler.json").read_text())["x"])
        self._mean_D = torch.as_tensor(scaler.mean, dtype=torch.float32)
        self._std_D = torch.as_tensor(scaler.std, dtype=torch.float32)
        build = {"dominant": DOMINANTBase, "ocgnn": OCGNNBase}[kind]
        self.network: torch.nn.Module = build(in_dim=len(self._mean_D), hid_dim=config.pygod_hidden)
        if kind == "ocgnn":
            _keep_sphere(self.network, config.pygod_hidden)
        self._errors: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = (
            self._dominant if kind == "dominant" else self._ocgnn
        )

    def fit(self, store: GraphStore, said: Callable[[float], None]) -> None:
        """Train on benign windows, drawn without replacement, the same ones every epoch."""
        benign = np.flatnonzero(store.y_G == 0)
        if not len(benign):
            raise DataError("the training split has no benign window", hint="PyGOD's detectors learn them.")
        config, rng = self._config, np.random.default_rng(self._config.seed)
        chosen = rng.permutation(benign)[: config.pygod_windows]
        optimiser = torch.optim.Adam(self.network.parameters(), lr=_LEARNING_RATE)
        self.network.train()
        for epoch in range(config.pygod_epochs):
            said(epoch / config.pygod_epochs)
            for batch in self._batches(store, rng.permutation(chosen)):
                loss, _ = self._errors(self._scaled(batch), batch.edge_index)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    @torch.no_grad()
    def score(self, store: GraphStore) -> F64:
        """Mean over the worst nodes of every window: [G]."""
        self.network.eval()
        found = []
        for batch in self._batches(store, np.arange(len(store))):
            _, error_N = self._errors(self._scaled(batch), batch.edge_index)
            parts = torch.split(error_N, (batch.ptr[1:] - batch.ptr[:-1]).tolist())
            worst = self._config.worst_nodes
            found += [float(p.topk(min(worst, len(p))).values.mean()) for p in parts]
        return np.array(found, np.float64)

    def _batches(self, store: GraphStore, order: npt.NDArray[np.int64]) -> Iterator[GraphBatch]:
        step = self._config.pygod_batch
        for first in range(0, len(order), step):
            yield GraphBatch.of(store.gather(order[first : first + step]))

    def _scaled(self, batch: GraphBatch) -> Tensor:
        return ((batch.x - self._mean_D) / self._std_D).clamp(-_CLIP, _CLIP)

    def _dominant(self, x_ND: Tensor, edge_index_2E: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, error of each node): attributes and dense adjacency of the batch are reconstructed, half and half."""
        network: Any = self.network
        adjacency_NN = x_ND.new_zeros(len(x_ND), len(x_ND))
        adjacency_NN[edge_index_2E[0], edge_index_2E[1]] = 1.0
        x_hat_ND, s_hat_NN = network(x_ND, edge_index_2E)
        error_N: Tensor = network.loss_func(x_ND, x_hat_ND, adjacency_NN, s_hat_NN, 0.5)
        return error_N.mean(), error_N

    def _ocgnn(self, x_ND: Tensor, edge_index_2E: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, distance of each node beyond the sphere's radius)."""
        network: Any = self.network
        warmup = network.warmup
        if not network.training:
            network.warmup = 0  # PyGOD moves centre and radius in every call, those that only score too.
        loss, error_N = network.loss_func(network(x_ND, edge_index_2E))
        if not network.training:
            network.warmup = warmup
        return loss, error_N


def _keep_sphere(network: torch.nn.Module, hidden: int) -> None:
    """Centre and radius, which PyGOD keeps beside the weights, as part of them: without them the scores are others."""
    for name, value in (("c", torch.zeros(hidden)), ("r", torch.zeros(()))):
        delattr(network, name)
        network.register_buffer(name, value)
