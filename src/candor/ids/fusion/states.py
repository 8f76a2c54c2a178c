"""What a fusion policy sees of a window: fifteen named numbers, eight from the VGAE and seven from the GAT.

Shapes: G windows, S = 15 state fields, Z latent width, N nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from candor.ids.models.blocks import per_graph
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.nodes import WorstNodes
from candor.ids.models.vgae import Vgae, VgaeOutput, window_errors
from candor.learn.batching import GraphBatch

STATE_FIELDS = (
    "vgae_feature_error",
    "vgae_id_error",
    "vgae_neighbourhood_error",
    "vgae_latent_mean",
    "vgae_latent_std",
    "vgae_latent_max",
    "vgae_latent_min",
    "vgae_confidence",
    "gat_benign_probability",
    "gat_attack_probability",
    "gat_embedding_mean",
    "gat_embedding_std",
    "gat_embedding_max",
    "gat_embedding_min",
    "gat_confidence",
)
VGAE_FIELDS = slice(0, 8)
GAT_FIELDS = slice(8, 15)
VGAE_CONFIDENCE, GAT_ATTACK = (
    STATE_FIELDS.index("vgae_confidence"),
    STATE_FIELDS.index("gat_attack_probability"),
)

FloatArray = NDArray[np.float64]


def raw_vgae_view(model: Vgae, output: VgaeOutput, batch: GraphBatch) -> Tensor:
    """Log errors and latent statistics of every window, ``[G, 7]``: all VGAE fields but the confidence."""
    errors = window_errors(model, output, batch)
    graphs = batch.num_graphs
    latent_NZ = output.mu_NZ
    mean_G = per_graph(latent_NZ.mean(-1), batch.batch, graphs)
    square_G = per_graph(latent_NZ.square().mean(-1), batch.batch, graphs)
    logs = [torch.log(e.double() + 1e-9) for e in (errors.feature_G, errors.id_G, errors.neighbourhood_G)]
    return torch.stack(
        [
            *logs,
            mean_G.double(),
            (square_G - mean_G.square()).clamp(min=0).sqrt().double(),
            per_graph(latent_NZ.amax(-1), batch.batch, graphs, "amax").double(),
            per_graph(latent_NZ.amin(-1), batch.batch, graphs, "amin").double(),
        ],
        dim=-1,
    )


def gat_view(model: Gat, batch: GraphBatch) -> Tensor:
    """The seven GAT fields of every window, ``[G, 7]``."""
    output = model(batch)
    attack_G = attack_probability(output.logits_GC)
    embedding_GH = output.embedding_GH.double()
    return torch.stack(
        [
            1 - attack_G,
            attack_G,
            embedding_GH.mean(-1),
            embedding_GH.std(-1),
            embedding_GH.amax(-1),
            embedding_GH.amin(-1),
            (2 * attack_G - 1).abs(),
        ],
        dim=-1,
    )


@dataclass(frozen=True)
class AnomalyScale:
    """Turns a VGAE's log errors into an anomaly score and a probability. Fitted on benign windows alone.

    Each log error is centred and scaled robustly (median, MAD); the weighted sum is the anomaly score u. The
    probability is the logistic curve through two points: the benign median of u has probability 0.01; ``limit``, which
    lies ``margin`` times as far from it as the benign ``quantile``, has 0.5.
    """

    center: tuple[float, float, float]
    scale: tuple[float, float, float]
    weights: tuple[float, float, float]
    median: float
    limit: float

    @classmethod
    def fit(
        cls, benign_G3: FloatArray, weights: tuple[float, float, float], quantile: float, margin: float = 1.0
    ) -> AnomalyScale:
        """From log errors ``[G, 3]`` of benign windows that were not trained on."""
        center = np.median(benign_G3, axis=0)
        # Reconstructions can agree to the last digit (a vehicle of one ID); the floor keeps the ratio finite.
        scale = np.maximum(1.4826 * np.median(np.abs(benign_G3 - center), axis=0), 1e-3)
        u_G = ((benign_G3 - center) / scale) @ np.array(weights)
        median = float(np.median(u_G))
        limit = median + max(margin * (float(np.quantile(u_G, quantile)) - median), 1e-3)
        return cls(tuple(center.tolist()), tuple(scale.tolist()), weights, median, limit)

    def anomaly(self, log_errors_G3: FloatArray) -> FloatArray:
        """Anomaly score u, ``[G]``."""
        result: FloatArray = ((log_errors_G3 - np.array(self.center)) / np.array(self.scale)) @ np.array(
            self.weights
        )
        return result

    def probability(self, anomaly_G: FloatArray) -> FloatArray:
        """Logistic through (median, 0.01) and (limit, 0.5), ``[G]``."""
        steepness = np.log(99.0) / (self.limit - self.median)
        result: FloatArray = 1 / (1 + np.exp(-np.clip(steepness * (anomaly_G - self.limit), -700, 700)))
        return result


@dataclass(frozen=True)
class WindowViews:
    """Both detectors' views of some windows.

    Attributes:
        raw_G7: VGAE log errors and latent statistics.
        gat_G7: GAT fields.
    """

    raw_G7: FloatArray
    gat_G7: FloatArray

    def states(self, scale: AnomalyScale) -> FloatArray:
        """The 15-D states, ``[G, S]``, in the order of STATE_FIELDS."""
        probability_G = self.anomaly_probability(scale)
        confidence_G = np.abs(2 * probability_G - 1)
        return np.concatenate([self.raw_G7, confidence_G[:, None], self.gat_G7], axis=1)

    def anomaly(self, scale: AnomalyScale) -> FloatArray:
        """The VGAE's anomaly score, ``[G]``."""
        return scale.anomaly(self.raw_G7[:, :3])

    def anomaly_probability(self, scale: AnomalyScale) -> FloatArray:
        """The VGAE's attack probability, ``[G]``."""
        return scale.probability(self.anomaly(scale))

    @property
    def gat_probability(self) -> FloatArray:
        """The GAT's attack probability, ``[G]``."""
        result: FloatArray = self.gat_G7[:, 1]
        return result


@torch.inference_mode()
def view_windows(
    vgae: Vgae,
    gat: Gat,
    batches: Iterator[GraphBatch],
    count: int,
    device: torch.device,
    *,
    as_unknown: bool = False,
    nodes: WorstNodes | None = None,
) -> WindowViews:
    """Run both detectors over all windows; rows are in store order whatever the batches' order.

    ``as_unknown`` shows every window as an unknown vehicle's. ``nodes`` collects the nodes that the VGAE finds oddest.
    """
    vgae.eval().to(device)
    gat.eval().to(device)
    raw, seen = np.empty((count, 7)), np.empty((count, 7))
    vgae.inputs.as_unknown = gat.inputs.as_unknown = as_unknown
    for batch in batches:
        batch = batch.to(device)
        at = batch.index.cpu().numpy()
        output = vgae(batch)
        raw[at] = raw_vgae_view(vgae, output, batch).cpu().numpy()
        if nodes is not None:
            nodes.add(output, batch)
        seen[at] = gat_view(gat, batch).cpu().numpy()
    vgae.inputs.as_unknown = gat.inputs.as_unknown = False
    return WindowViews(raw, seen)
