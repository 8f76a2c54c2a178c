"""What is measured of one explained window, whatever detector is explained, and whether dropping what is named hurts.

Edges are named in two ways, by the detector's own masks or errors and by what dropping each alone costs; fidelity is measured
for both. What no edge at all, or every feature at its benign mean, costs says how much there was to lose.

Legend: N nodes, E edges, D features, R the other columns of a model's inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

from candor.ids.config import ExplainTask
from candor.learn.batching import GraphBatch

F64 = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Losses:
    """Margin lost when parts of a window are dropped: edges taken away, features (of nodes: all of theirs) at the benign mean.

    ``named``: those of the highest importance, ``random``: as many drawn at random (mean over draws), ``all``: all of them.
    Of edges, ``masked`` are those of the highest importance and ``named`` those that cost most alone.
    """

    masked_edges: float = 0.0
    named_edges: float = 0.0
    random_edges: float = 0.0
    all_edges: float = 0.0
    named_nodes: float = 0.0
    random_nodes: float = 0.0
    named_features: float = 0.0
    random_features: float = 0.0
    all_features: float = 0.0


@dataclass(frozen=True)
class Importance:
    """What made a detector decide on one window.

    Attributes:
        decided: class it leans to. margin: how far, in the unit of the subject, in favour of what was ``judged``.
        x_ND: scaled features as the model saw them. expected_ND: what it expected instead, where it says so.
        feature_ND: importance of each, 0 to 1. effect_ND: how much each mattered; orders the features. node_N: of a node.
        edge_E: importance of each edge. attention_E: mean attention over layers and heads.
        alone_E: margin lost when one edge alone is dropped.
        lost: what dropping the named parts costs, and random ones.
    """

    decided: int
    margin: float
    x_ND: F64
    expected_ND: F64 | None
    feature_ND: F64
    effect_ND: F64
    node_N: F64
    edge_E: F64
    attention_E: F64
    alone_E: F64
    lost: Losses


@dataclass(frozen=True)
class Found:
    """What a detector itself says of a window: the first half of `Importance`, by the same names."""

    decided: int
    feature_ND: F64
    effect_ND: F64
    node_N: F64
    edge_E: F64
    attention_E: F64
    expected_ND: F64 | None = None


class Subject(Protocol):
    """A detector on one window, as a function of that window's scaled features and edges."""

    x_ND: Tensor

    def margin(self, x_ND: Tensor, keep_E: Tensor | None = None) -> float:
        """How far the detector goes towards what is explained. ``keep_E``: edges that are left, all if None."""

    def found(self, config: ExplainTask, rng: np.random.Generator) -> Found:
        """Its own account."""


class Fixed(nn.Module):
    """Stands where a model's inputs are computed, and gives what it was given."""

    def __init__(self, x_ND: Tensor, slot_N: Tensor, rest_NR: Tensor, e_EF: Tensor) -> None:
        super().__init__()
        self.x_ND, self.slot_N, self.rest_NR, self.e_EF = x_ND, slot_N, rest_NR, e_EF

    @classmethod
    def of(cls, model: Any, batch: GraphBatch) -> Fixed:
        """What the model's own inputs say of a batch."""
        with torch.no_grad():
            x_ND, slot_N, h_NI, e_EF = model.inputs(batch)
        return cls(x_ND, slot_N, h_NI[:, x_ND.shape[1] :], e_EF)

    def but(self, x_ND: Tensor, keep_E: Tensor | None = None) -> Fixed:
        """The same with other features, and fewer edges."""
        return Fixed(x_ND, self.slot_N, self.rest_NR, self.e_EF if keep_E is None else self.e_EF[keep_E])

    def forward(self, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.x_ND, self.slot_N, torch.cat([self.x_ND, self.rest_NR], dim=-1), self.e_EF


@contextmanager
def given(model: Any, fixed: Fixed) -> Iterator[None]:
    """The model sees ``fixed`` instead of its own inputs."""
    own = model.inputs
    model.inputs = fixed
    try:
        yield
    finally:
        model.inputs = own


def explain_window(subject: Subject, config: ExplainTask, rng: np.random.Generator) -> Importance:
    """A detector's own account of a window, and what dropping the named and random parts costs."""
    x_ND, whole = subject.x_ND, subject.margin(subject.x_ND)
    found = subject.found(config, rng)
    edges = len(found.edge_E)
    alone_E = np.array([whole - subject.margin(x_ND, _keep(edges, np.array([e]))) for e in range(edges)])
    return Importance(
        decided=found.decided,
        margin=whole,
        x_ND=x_ND.detach().numpy().astype(np.float64),
        expected_ND=found.expected_ND,
        feature_ND=found.feature_ND,
        effect_ND=found.effect_ND,
        node_N=found.node_N,
        edge_E=found.edge_E,
        attention_E=found.attention_E,
        alone_E=alone_E,
        lost=_losses(subject, found, alone_E, whole, config, rng),
    )


def attention(model: nn.Module, call: Callable[[], Any], edges: int) -> F64:
    """Mean attention of each edge over a model's layers and heads while ``call`` runs it: [E]; zeros without any."""
    calls: list[tuple[Any, tuple[Any, ...]]] = []
    layers = [m for m in model.modules() if isinstance(m, GATConv | GATv2Conv | TransformerConv)]
    hooks = [m.register_forward_pre_hook(lambda layer, told: calls.append((layer, told))) for m in layers]
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    total = np.zeros(edges)
    for layer, told in calls:
        with torch.no_grad():
            _, (_, alpha_EH) = layer(*told, return_attention_weights=True)
        total += alpha_EH.mean(dim=-1).numpy()
    return total / max(1, len(calls))


def _keep(count: int, dropped: Indices) -> Tensor:
    keep = torch.ones(count, dtype=torch.bool)
    keep[torch.from_numpy(dropped)] = False
    return keep


def _losses(
    subject: Subject, found: Found, alone_E: F64, whole: float, config: ExplainTask, rng: np.random.Generator
) -> Losses:
    edges, x_ND = len(alone_E), subject.x_ND
    size = x_ND.shape[1]

    def without_edges(dropped: Indices) -> float:
        return whole - subject.margin(x_ND, _keep(edges, dropped))

    def without_features(cells: Indices) -> float:
        x = x_ND.detach().clone()
        x.view(-1)[torch.from_numpy(cells)] = 0.0
        return whole - subject.margin(x)

    def without_nodes(nodes: Indices) -> float:
        return without_features((nodes[:, None] * size + np.arange(size)).ravel())

    every = np.arange(edges)
    # The masks of edges that do not matter all fall to the same floor; attention orders those.
    by_mask = np.lexsort((-found.attention_E, -found.edge_E))
    masked, random = _compared(by_mask, every, without_edges, config, rng)
    named, _ = _compared(_falling(alone_E), every, without_edges, config, None)
    nodes, random_nodes = _compared(_falling(found.node_N), np.arange(len(x_ND)), without_nodes, config, rng)
    # A feature at its benign mean is as good as dropped.
    deviates = np.flatnonzero(x_ND.detach().numpy().ravel() != 0)
    by_effect = deviates[_falling(found.effect_ND.ravel()[deviates])]
    features, random_features = _compared(by_effect, deviates, without_features, config, rng)
    return Losses(
        masked_edges=masked,
        named_edges=named,
        random_edges=random,
        all_edges=without_edges(every),
        named_nodes=nodes,
        random_nodes=random_nodes,
        named_features=features,
        random_features=random_features,
        all_features=without_features(deviates),
    )


def _falling(value: F64) -> Indices:
    return np.argsort(-value, kind="stable")


def _compared(
    order: Indices,
    every: Indices,
    lost: Callable[[Indices], float],
    config: ExplainTask,
    rng: np.random.Generator | None,
) -> tuple[float, float]:
    """Margin lost with the first of ``order`` dropped, and with as many of ``every`` at random (0 without ``rng``)."""
    drop = max(1, round(config.dropped * len(every)))
    if len(every) <= drop:
        return 0.0, 0.0
    draws = [rng.permutation(every)[:drop] for _ in range(config.random_drops)] if rng else []
    return lost(order[:drop]), float(np.mean([lost(d) for d in draws])) if draws else 0.0
