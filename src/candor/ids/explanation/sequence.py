"""The temporal detector explained: gradient times input on the judged window, and how much each window before it counted.

The features and edges that are named are those of the judged window; the windows that lead up to it stay as they are, and
``window_share_T`` says how its attention weighed them. The margin is the log odds of the class decided for.

Legend: N nodes and E edges of the judged window, D features, T windows of a sequence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from candor.ids.config import ExplainTask
from candor.ids.explanation.importance import F64, Fixed, Found, given
from candor.ids.models.temporal import Temporal
from candor.learn.batching import GraphBatch


class SequenceSubject:
    """The temporal detector's decision on the last window of a batch of one sequence."""

    def __init__(self, model: Temporal, batch: GraphBatch) -> None:
        self._model, self._batch = model.eval(), batch
        self._fixed = Fixed.of(model, batch)
        last = model.config.windows - 1
        self._node_N = batch.batch == last
        self._edge_E = batch.batch[batch.edge_index[0]] == last
        self.x_ND = self._fixed.x_ND[self._node_N]
        with torch.no_grad():
            logits, share_ST = self._logits(self.x_ND, None)
        self.decided = int(logits.argmax())
        self.window_share_T: F64 = share_ST[0].numpy().astype(np.float64)

    def margin(self, x_ND: Tensor, keep_E: Tensor | None = None) -> float:
        with torch.no_grad():
            out = self._logits(x_ND, keep_E)[0].double()
        return self._sign * float(out[1] - out[0])

    def found(self, config: ExplainTask, rng: np.random.Generator) -> Found:
        x_ND = self.x_ND.detach().clone().requires_grad_()
        edges = int(self._edge_E.sum())
        out, _ = self._logits(x_ND, None)
        (gradient_ND,) = torch.autograd.grad(self._sign * (out[1] - out[0]), x_ND)
        effect_ND = (gradient_ND * x_ND).detach().clamp(min=0).numpy().astype(np.float64)
        most = effect_ND.max(initial=0.0)
        feature_ND = effect_ND / most if most > 0 else effect_ND
        # A graph convolution has no attention over edges, and no mask: its edges are named by what dropping them costs.
        return Found(
            self.decided, feature_ND, effect_ND, effect_ND.max(axis=1), np.zeros(edges), np.zeros(edges)
        )

    @property
    def _sign(self) -> float:
        return 1.0 if self.decided else -1.0

    def _logits(self, x_ND: Tensor, keep_E: Tensor | None) -> tuple[Tensor, Tensor]:
        """Two logits, and the attention over windows [1, T]."""
        x = self._fixed.x_ND.clone()
        x[self._node_N] = x_ND
        kept = torch.ones(len(self._edge_E), dtype=torch.bool)
        if keep_E is not None:
            kept[self._edge_E] = keep_E
        batch = replace(self._batch, edge_index=self._batch.edge_index[:, kept])
        with given(self._model, self._fixed.but(x, kept)):
            logits_SC, share_ST = self._model.judged(batch)
        return logits_SC[0], share_ST
