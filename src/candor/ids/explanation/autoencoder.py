"""The autoencoder explained: its errors are what its score is made of, so they are the explanation.

A feature's part is its squared error as it enters the window's feature error, which is the mean over the oddest nodes. An
edge's importance is the cross-entropy of its own reconstruction; as it stands the score does not count it
(``vgae.score_weights``), and an edge matters by the messages it carries: that is what dropping it alone measures. The margin
is the anomaly score, in robust benign standard deviations, whether the window was flagged or not: of a missed attack, too,
the page says what little was seen.

Legend: N nodes, E edges, D features, G = 1 window.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from candor.ids.config import ExplainTask
from candor.ids.explanation.importance import F64, Fixed, Found, attention, given
from candor.ids.fusion.states import AnomalyScale, raw_vgae_view
from candor.ids.models.vgae import Vgae, VgaeOutput, edge_error
from candor.learn.batching import GraphBatch


class AutoencoderSubject:
    """The anomaly score of a batch of one window. ``cut``: where the detector alarms, in that score."""

    def __init__(self, model: Vgae, scale: AnomalyScale, cut: float, batch: GraphBatch) -> None:
        self._model, self._scale, self._cut, self._batch = model.eval(), scale, cut, batch
        self._fixed = Fixed.of(model, batch)
        self.x_ND = self._fixed.x_ND

    def margin(self, x_ND: Tensor, keep_E: Tensor | None = None) -> float:
        return self._judged(x_ND, keep_E)[1]

    def found(self, config: ExplainTask, rng: np.random.Generator) -> Found:
        output, score = self._judged(self.x_ND, None)
        squared_ND = _array((output.x_hat_ND - self.x_ND).square())
        node_N = squared_ND.mean(axis=1)
        odd = np.argsort(-node_N, kind="stable")[: self._model.config.worst_nodes]
        effect_ND = np.zeros_like(squared_ND)
        effect_ND[odd] = squared_ND[odd]
        total = effect_ND.sum()
        edges = self._batch.edge_index
        return Found(
            decided=int(score >= self._cut),
            feature_ND=effect_ND / total if total > 0 else effect_ND,
            effect_ND=effect_ND / max(1, len(odd)) / squared_ND.shape[1],
            node_N=node_N,
            edge_E=_array(edge_error(output.mu_NZ, edges)),
            attention_E=attention(self._model, lambda: self._judged(self.x_ND, None), edges.shape[1]),
            expected_ND=_array(output.x_hat_ND),
        )

    @torch.no_grad()
    def _judged(self, x_ND: Tensor, keep_E: Tensor | None) -> tuple[VgaeOutput, float]:
        edges = self._batch.edge_index
        batch = replace(self._batch, edge_index=edges if keep_E is None else edges[:, keep_E])
        with given(self._model, self._fixed.but(x_ND, keep_E)):
            output = self._model(batch)
        errors_G3 = raw_vgae_view(self._model, output, batch)[:, :3].numpy()
        return output, float(self._scale.anomaly(errors_G3)[0])


def _array(value: Tensor) -> F64:
    found: F64 = value.detach().numpy().astype(np.float64)
    return found
