"""The classifier explained: GNNExplainer (Ying et al. 2019) and attention weights.

GNNExplainer looks for the smallest masks over node features and edges under which the classifier decides as it does. The
masks are over scaled features, where 0 is the benign mean: what is masked becomes ordinary. The margin is the log odds of
the class that the classifier decided for.

Legend: N nodes, E edges, D features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer

from candor.ids.config import ExplainTask
from candor.ids.explanation.importance import F64, Fixed, Found, attention, given
from candor.ids.models.gat import Gat
from candor.learn.batching import GraphBatch

#: Log odds that a decision is brought down to while its masks are sought.
_MARGIN = 2.0


class _Classifier(nn.Module):
    """A GAT on one window, as a function of scaled features and edges: what an explainer can mask."""

    def __init__(self, model: Gat, batch: GraphBatch) -> None:
        super().__init__()
        self.model, self._batch, self.fixed = model, batch, Fixed.of(model, batch)
        #: Temperature of the logits. A certain decision has no gradient left, and its masks would be those of the
        #: explainer's own penalties.
        self.temperature = 1.0

    def forward(self, x_ND: Tensor, edge_index: Tensor, keep_E: Tensor | None = None) -> Tensor:
        edges = edge_index if keep_E is None else edge_index[:, keep_E]
        with given(self.model, self.fixed.but(x_ND, keep_E)):
            logits: Tensor = self.model(replace(self._batch, edge_index=edges)).logits_GC
        return logits / self.temperature


class ClassifierSubject:
    """The classifier's own decision on a batch of one window."""

    def __init__(self, model: Gat, batch: GraphBatch) -> None:
        # PyG's Explainer leaves a module in the mode that it found its outermost part in.
        self._classify = _Classifier(model.eval(), batch).eval()
        self.x_ND, self._edges = self._classify.fixed.x_ND, batch.edge_index
        with torch.no_grad():
            self.decided = int(self._classify(self.x_ND, self._edges)[0].argmax())

    def margin(self, x_ND: Tensor, keep_E: Tensor | None = None) -> float:
        with torch.no_grad():
            out = self._classify(x_ND, self._edges, keep_E)[0].double()
        return (1.0 if self.decided else -1.0) * float(out[1] - out[0])

    def found(self, config: ExplainTask, rng: np.random.Generator) -> Found:
        feature_ND, edge_E = self._masks(config, rng)
        # A mask over a feature that is at its benign mean changes nothing, whatever its value.
        effect_ND = feature_ND * self.x_ND.abs().numpy().astype(np.float64)
        attention_E = attention(
            self._classify, lambda: self._classify(self.x_ND, self._edges), self._edges.shape[1]
        )
        return Found(self.decided, feature_ND, effect_ND, effect_ND.max(axis=1), edge_E, attention_E)

    def _masks(self, config: ExplainTask, rng: np.random.Generator) -> tuple[F64, F64]:
        """Importance of every node feature [N, D] and edge [E], from 0 to 1."""
        self._classify.temperature = max(1.0, abs(self.margin(self.x_ND)) / _MARGIN)
        # Apart: together, features explain all that edges could, and the masks of edges stay where they were drawn.
        feature_ND = self._mask(config, rng, node_mask_type="attributes").node_mask
        edge_E = self._mask(config, rng, edge_mask_type="object").edge_mask
        self._classify.temperature = 1.0
        return feature_ND.numpy().astype(np.float64), edge_E.numpy().astype(np.float64)

    def _mask(self, config: ExplainTask, rng: np.random.Generator, **kind: Any) -> Any:
        # GNNExplainer draws its first masks from torch's own generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            explainer = Explainer(
                self._classify,
                GNNExplainer(epochs=config.steps, lr=config.learning_rate),
                explanation_type="model",
                model_config={
                    "mode": "multiclass_classification",
                    "task_level": "graph",
                    "return_type": "raw",
                },
                **kind,
            )
            return explainer(self.x_ND, self._edges)
