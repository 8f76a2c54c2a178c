"""The compiled entry, pooling and dropout against torch's own parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.nn.aggr import MultiAggregation

from candor.ids.config import LookupIds, NodeInputConfig
from candor.ids.graphs.scaler import Scaler
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.models import fused_batches, fused_dropout
from candor.ids.models.blocks import NodeInput, Pool
from candor.ids.models.encodings import LookupEncoding

NODES, EDGES, GRAPHS, FEATURES = 60, 150, 7, 6


def scaler(width: int) -> Scaler:
    return Scaler(np.linspace(-1, 1, width), np.linspace(0.5, 2, width), (), 1)


def batch() -> Any:
    torch.manual_seed(3)
    return SimpleNamespace(
        x=5 * torch.randn(NODES, FEATURES),
        node_id=torch.randint(0, 30, (NODES,)),
        edge_index=torch.randint(0, NODES, (2, EDGES)),
        edge_attr=5 * torch.randn(EDGES, 4),
        batch=torch.randint(0, GRAPHS - 1, (NODES,)).sort().values,  # The last graph is empty.
        num_graphs=GRAPHS,
    )


def results(known_ids: int, *, training: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    config = NodeInputConfig(
        ids=LookupIds(width=3), graph_id_dropout=0.3, node_id_dropout=0.3, min_known_share=0.2
    )
    vocabulary = Vocabulary(np.arange(known_ids, dtype=np.uint32))
    aware = torch.arange(FEATURES) % 2 == 0
    entry = NodeInput(
        config, vocabulary=vocabulary, nodes=scaler(FEATURES), edges=scaler(4), aware_D=aware
    ).train(training)
    x_ND, slot_N, h_NI, e_EF = entry(batch())
    (h_NI * torch.linspace(-1, 1, h_NI.numel()).view_as(h_NI)).sum().backward()
    assert isinstance(entry.embedding, LookupEncoding)
    assert entry.embedding.table.weight.grad is not None
    return [x_ND, slot_N, h_NI.detach(), e_EF, entry.embedding.table.weight.grad, torch.rand(3)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("known_ids", [0, 9, 30])
def test_the_compiled_entry_equals_torchs_and_draws_the_same(
    known_ids: int, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = results(known_ids, training=training)
    monkeypatch.setattr(fused_batches, "on_cpu", lambda *_: False)
    theirs = results(known_ids, training=training)
    assert known_ids in (0, 30) or 0 < int((ours[1] > 0).sum()) < NODES
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kinds", [("mean", "max"), ("max",), ("mean", "max", "std")])
def test_pooling_equals_pyg_also_where_nodes_tie_and_a_graph_is_empty(kinds: tuple[Any, ...]) -> None:
    of_N = batch().batch
    h = torch.randn(NODES, 5).round(decimals=0) + 0.5  # Many equal maxima; at 0 torch counts one too many.
    made = []
    for aggregate in (
        Pool(kinds, 5),
        lambda h, of, size: MultiAggregation(list(kinds))(h, of, dim_size=size),
    ):
        own = h.clone().requires_grad_()
        out = aggregate(own, of_N, GRAPHS)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        assert own.grad is not None
        made.append((out.detach(), own.grad))
    for mine, other in zip(*made, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("skipped", [0, 1, 623, 624, 1000])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (700, 3)])
def test_dropout_masks_are_torchs_and_leave_its_generator_where_torch_would(
    shape: tuple[int, ...], skipped: int
) -> None:
    assert fused_dropout._same_as_torch()
    drawn = []
    for draw in (fused_dropout.keep_mask, lambda shape, keep: torch.empty(shape).bernoulli_(keep)):
        torch.manual_seed(5)
        torch.rand(skipped)
        masks = [draw(torch.Size(shape), 0.7) for _ in range(3)]
        drawn.append([*masks, torch.rand(4), torch.get_rng_state()])
    for mine, other in zip(*drawn, strict=True):
        assert torch.equal(mine, other)


def test_a_torch_that_draws_otherwise_keeps_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_dropout, "_same_as_torch", lambda: False)
    monkeypatch.setattr(fused_dropout, "_draw", lambda *_: pytest.fail("drawn"))
    assert fused_dropout.keep_mask(torch.Size([4, 4]), 1.0).sum() == 16
