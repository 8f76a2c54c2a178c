"""One window explained: GNNExplainer (Ying et al. 2019), attention weights, and whether dropping what they name hurts.

GNNExplainer looks for the smallest masks over node features and edges under which the classifier decides as it does. The
masks are over scaled features, where 0 is the benign mean: what is masked becomes ordinary.

An edge mask scales a message; dropping an edge is another thing, as attention then shares itself out anew among the edges
that are left. So every edge is also dropped alone, and fidelity is measured for both ways of naming edges.

Legend: N nodes, E edges, D features, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from candor.ids.config import ExplainTask
from candor.ids.models.gat import Gat
from candor.learn.batching import GraphBatch

F64 = NDArray[np.float64]

#: Log odds that a decision is brought down to while its masks are sought.
_MARGIN = 2.0


@dataclass(frozen=True)
class Importance:
    """What made the classifier decide on one window.

    Attributes:
        decided: class it chose. log_odds: in favour of that class.
        x_ND: scaled features as the model saw them. feature_ND: importance of each, 0 to 1. node_N: a node's highest
            importance times deviation. edge_E: importance of each edge. attention_E: mean attention over layers and heads.
        alone_E: log odds lost when one edge alone is dropped.
        masked_edges, named_edges, random_edges: log odds lost when the edges of the highest masks are dropped, those that
            cost most alone, and as many random ones (mean).
        named_features, random_features: the same for node features set to the benign mean.
    """

    decided: int
    log_odds: float
    x_ND: F64
    feature_ND: F64
    node_N: F64
    edge_E: F64
    attention_E: F64
    alone_E: F64
    masked_edges: float
    named_edges: float
    random_edges: float
    named_features: float
    random_features: float


class _Fixed(nn.Module):
    """Stands where a model's inputs are computed, and gives what it was given."""

    def __init__(self, x_ND: Tensor, slot_N: Tensor, rest_NR: Tensor, e_EF: Tensor) -> None:
        super().__init__()
        self.x_ND, self.slot_N, self.rest_NR, self.e_EF = x_ND, slot_N, rest_NR, e_EF

    def forward(self, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.x_ND, self.slot_N, torch.cat([self.x_ND, self.rest_NR], dim=-1), self.e_EF


class _Classifier(nn.Module):
    """A GAT on one window, as a function of scaled features and edges: what an explainer can mask."""

    def __init__(self, model: Gat, batch: GraphBatch) -> None:
        super().__init__()
        self.model, self._batch = model, batch
        with torch.no_grad():
            x_ND, slot_N, h_NI, e_EF = model.inputs(batch)
        self.x_ND = x_ND
        #: Temperature of the logits. A certain decision has no gradient left, and its masks would be those of the
        #: explainer's own penalties.
        self.temperature = 1.0
        self._slot_N, self._rest_NR, self._e_EF = slot_N, h_NI[:, x_ND.shape[1] :], e_EF

    def forward(self, x_ND: Tensor, edge_index: Tensor, keep_E: Tensor | None = None) -> Tensor:
        e_EF = self._e_EF if keep_E is None else self._e_EF[keep_E]
        edges = edge_index if keep_E is None else edge_index[:, keep_E]
        with _inputs(self.model, _Fixed(x_ND, self._slot_N, self._rest_NR, e_EF)):
            logits: Tensor = self.model(replace(self._batch, edge_index=edges)).logits_GC
        return logits / self.temperature


@contextmanager
def _inputs(model: Gat, fixed: nn.Module) -> Iterator[None]:
    own = model.inputs
    model.inputs = fixed  # type: ignore[assignment]
    try:
        yield
    finally:
        model.inputs = own


def explain_window(
    model: Gat, batch: GraphBatch, config: ExplainTask, rng: np.random.Generator
) -> Importance:
    """Explain the classifier's own decision on a batch of one window."""
    # PyG's Explainer leaves a module in the mode that it found its outermost part in.
    classify = _Classifier(model.eval(), batch).eval()
    x_ND, edges = classify.x_ND, batch.edge_index
    with torch.no_grad():
        logits = classify(x_ND, edges)[0]
    decided = int(logits.argmax())
    sign = 1.0 if decided else -1.0

    def odds(x: Tensor = x_ND, keep: Tensor | None = None) -> float:
        with torch.no_grad():
            out = classify(x, edges, keep)[0].double()
        return sign * float(out[1] - out[0])

    whole = odds()
    feature_ND, edge_E = _masks(classify, x_ND, edges, config, rng)
    # A mask over a feature that is at its benign mean changes nothing, whatever its value.
    effect_ND = feature_ND * x_ND.abs().numpy().astype(np.float64)
    attention_E = _attention(classify, x_ND, edges)

    def lost(dropped: NDArray[np.int64]) -> float:
        return whole - odds(keep=_keep(len(edge_E), dropped))

    alone_E = np.array([lost(np.array([e])) for e in range(len(edge_E))])
    drop = max(1, round(config.dropped * len(edge_E)))
    # The masks of edges that do not matter all fall to the same floor; attention orders those.
    by_mask = np.lexsort((-attention_E, -edge_E))[:drop]
    draws = [rng.permutation(len(edge_E))[:drop] for _ in range(config.random_drops)]
    by_feature = _features_lost(effect_ND, x_ND, config, rng, lambda x: whole - odds(x))
    return Importance(
        decided=decided,
        log_odds=whole,
        x_ND=x_ND.numpy().astype(np.float64),
        feature_ND=feature_ND,
        node_N=effect_ND.max(axis=1),
        edge_E=edge_E,
        attention_E=attention_E,
        alone_E=alone_E,
        masked_edges=lost(by_mask),
        named_edges=lost(np.argsort(-alone_E, kind="stable")[:drop]),
        random_edges=float(np.mean([lost(d) for d in draws])),
        named_features=by_feature[0],
        random_features=by_feature[1],
    )


def _masks(
    classify: _Classifier, x_ND: Tensor, edges: Tensor, config: ExplainTask, rng: np.random.Generator
) -> tuple[F64, F64]:
    """Importance of every node feature [N, D] and edge [E], from 0 to 1."""
    with torch.no_grad():
        margin = float((classify(x_ND, edges)[0] * x_ND.new_tensor([-1.0, 1.0])).sum().abs())
    classify.temperature = max(1.0, margin / _MARGIN)
    # Apart: together, features explain all that edges could, and the masks of edges stay where they were drawn.
    feature_ND = _mask(classify, x_ND, edges, config, rng, node_mask_type="attributes").node_mask
    edge_E = _mask(classify, x_ND, edges, config, rng, edge_mask_type="object").edge_mask
    classify.temperature = 1.0
    return feature_ND.numpy().astype(np.float64), edge_E.numpy().astype(np.float64)


def _mask(
    classify: _Classifier,
    x_ND: Tensor,
    edges: Tensor,
    config: ExplainTask,
    rng: np.random.Generator,
    **kind: Any,
) -> Any:
    # GNNExplainer draws its first masks from torch's own generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(1 << 31)))
        explainer = Explainer(
            classify,
            GNNExplainer(epochs=config.steps, lr=config.learning_rate),
            explanation_type="model",
            model_config={"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"},
            **kind,
        )
        return explainer(x_ND, edges)


def _attention(classify: _Classifier, x_ND: Tensor, edges: Tensor) -> F64:
    """Mean attention of each edge over layers and heads: [E]; zeros for convolutions without."""
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    layers = [m for m in classify.modules() if isinstance(m, GATConv | GATv2Conv | TransformerConv)]
    hooks = [m.register_forward_pre_hook(lambda layer, given: calls.append((layer, given))) for m in layers]
    with torch.no_grad():
        classify(x_ND, edges)
    for hook in hooks:
        hook.remove()
    total = np.zeros(edges.shape[1])
    for layer, given in calls:
        with torch.no_grad():
            _, (_, alpha_EH) = layer(*given, return_attention_weights=True)
        total += alpha_EH.mean(dim=-1).numpy()
    return total / max(1, len(calls))


def _keep(count: int, dropped: NDArray[np.int64]) -> Tensor:
    keep = torch.ones(count, dtype=torch.bool)
    keep[torch.from_numpy(dropped)] = False
    return keep


def _features_lost(
    effect_ND: F64,
    x_ND: Tensor,
    config: ExplainTask,
    rng: np.random.Generator,
    lost: Callable[[Tensor], float],
) -> tuple[float, float]:
    """Log odds lost with the named node features at the benign mean, and with as many random ones that deviate from it."""
    deviates = np.flatnonzero(x_ND.numpy().ravel() != 0)
    drop = max(1, round(config.dropped * len(deviates)))
    if len(deviates) <= drop:
        return 0.0, 0.0

    def without(cells: NDArray[np.int64]) -> float:
        x = x_ND.clone()
        x.view(-1)[torch.from_numpy(cells)] = 0.0
        return lost(x)

    named = deviates[np.argsort(-effect_ND.ravel()[deviates], kind="stable")[:drop]]
    draws = [rng.permutation(deviates)[:drop] for _ in range(config.random_drops)]
    return without(named), float(np.mean([without(d) for d in draws]))
