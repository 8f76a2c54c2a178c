"""The classifier explained: GNNExplainer (Ying et al. 2019, arXiv:1903.03894) and attention weights.

Masks say what is left of every feature or message. As the paper has it, the masks sought are the smallest under which the
decision stays; fidelity asks the reverse, what must go for the decision to fall (Lucic et al. 2022, arXiv:2102.03322), so what
is sought here are the masks that take least away and cost the decision most; importance is what they take. Log odds are
what falls, not a probability: a certain decision has no gradient. And there is no penalty on the entropy of masks: with
PyG's default all of them went to 0 or 1 wherever they were drawn, equally important in the end, and those edges that came
first hurt no more than random ones.

Features are scaled, 0 is the benign mean: what is masked becomes ordinary. The margin is the log odds of the class that the
classifier decided for.

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

#: Where PyG's squared error draws the decision to, in margins of the window: so far off that every step down counts alike.
_FAR = -10.0


class _Classifier(nn.Module):
    """A GAT on one window, as a function of scaled features and edges."""

    def __init__(self, model: Gat, batch: GraphBatch) -> None:
        super().__init__()
        self.model, self._batch, self.fixed = model, batch, Fixed.of(model, batch)

    def forward(self, x_ND: Tensor, edge_index: Tensor, keep_E: Tensor | None = None) -> Tensor:
        edges = edge_index if keep_E is None else edge_index[:, keep_E]
        with given(self.model, self.fixed.but(x_ND, keep_E)):
            logits: Tensor = self.model(replace(self._batch, edge_index=edges)).logits_GC
        return logits


class _Decision(nn.Module):
    """How far a classifier goes the way it decided, 1 on the whole window: what an explainer masks."""

    def __init__(self, classify: _Classifier, sign: float, margin: float) -> None:
        super().__init__()
        self.classify, self._scale = classify, sign / max(1.0, abs(margin))

    def forward(self, x_ND: Tensor, edge_index: Tensor) -> Tensor:
        logits_GC: Tensor = self.classify(x_ND, edge_index)
        return (logits_GC[:, 1] - logits_GC[:, 0]) * self._scale


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
        return self._sign * float(out[1] - out[0])

    def found(self, config: ExplainTask, rng: np.random.Generator) -> Found:
        feature_ND, edge_E = self._masks(config, rng)
        # Many masks take all of a feature; of those, the ones that deviate most come first.
        effect_ND = feature_ND * self.x_ND.abs().numpy().astype(np.float64)
        attention_E = attention(
            self._classify, lambda: self._classify(self.x_ND, self._edges), self._edges.shape[1]
        )
        return Found(self.decided, feature_ND, effect_ND, effect_ND.sum(axis=1), edge_E, attention_E)

    @property
    def _sign(self) -> float:
        return 1.0 if self.decided else -1.0

    def _masks(self, config: ExplainTask, rng: np.random.Generator) -> tuple[F64, F64]:
        """Importance of every node feature [N, D] and edge [E], from 0 to 1."""
        # Apart: together, features explain all that edges could, and the masks of edges stay where they were drawn.
        taken = {"node_feat_size": _penalty(config.feature_cost), "node_feat_ent": 0.0}
        feature_ND = _taken(self._mask(config, rng, taken, node_mask_type="attributes").node_mask)
        if not self._edges.shape[1]:
            return feature_ND, np.zeros(0)
        taken = {"edge_size": _penalty(config.edge_cost), "edge_ent": 0.0}
        edges = self._mask(config, rng, taken, edge_mask_type="object", edge_reduction="mean")
        return feature_ND, _taken(edges.edge_mask)

    def _mask(
        self,
        config: ExplainTask,
        rng: np.random.Generator,
        penalties: dict[str, float],
        *,
        edge_reduction: str = "sum",
        **kind: Any,
    ) -> Any:
        decision = _Decision(self._classify, self._sign, self.margin(self.x_ND)).eval()
        # GNNExplainer draws its first masks from torch's own generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            explainer = Explainer(
                decision,
                GNNExplainer(
                    epochs=config.steps, lr=config.learning_rate, edge_reduction=edge_reduction, **penalties
                ),
                explanation_type="phenomenon",
                model_config={"mode": "regression", "task_level": "graph", "return_type": "raw"},
                **kind,
            )
            return explainer(self.x_ND, self._edges, target=torch.full((1,), _FAR))


def _penalty(cost: float) -> float:
    """Coefficient of the mean mask by which taking all away costs as much as ``cost`` times the whole decision is worth.

    Negative: what is left is rewarded. The slope of the squared error is 2 (1 − _FAR) where nothing is taken yet.
    """
    return -cost * 2 * (1 - _FAR)


def _taken(left: Tensor) -> F64:
    """Importance of what a mask leaves of it; what has no effect at all has a mask of exactly 0."""
    return torch.where(left > 0, 1 - left, 0.0).numpy().astype(np.float64)
