from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import GATv2Conv

from candor.ids.models import fused_attention
from candor.ids.models.fused_attention import FusedGatv2


def case(num_nodes: int, num_edges: int) -> tuple[FusedGatv2, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    conv = FusedGatv2(8, 4, 3, edge_dim=5, add_self_loops=False)
    edges = torch.randint(0, num_nodes, (2, num_edges))
    edges = edges[:, torch.argsort(edges[1], stable=True)]
    return conv, torch.randn(num_nodes, 8, requires_grad=True), edges, torch.randn(num_edges, 5)


@pytest.mark.parametrize(("num_nodes", "num_edges"), [(50, 200), (200, 40), (1, 3)])
def test_outputs_and_gradients_equal_those_of_pyg(num_nodes: int, num_edges: int) -> None:
    conv, x, edges, attr = case(num_nodes, num_edges)
    results = []
    for forward in (GATv2Conv.forward, FusedGatv2.forward):
        conv.zero_grad()
        x.grad = None
        out = forward(conv, x, edges, attr)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        assert x.grad is not None
        results.append(
            [out.detach(), x.grad.clone(), *(p.grad.clone() for p in conv.parameters() if p.grad is not None)]
        )
    assert len(results[0]) == len(results[1])
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


def test_unsorted_edges_dropout_and_weights_asked_for_take_pygs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x, edges, attr = case(50, 200)
    expected = GATv2Conv.forward(conv, x, edges, attr)
    monkeypatch.setattr(fused_attention, "attention", lambda *_: pytest.fail("fused"))
    order = torch.randperm(200)
    torch.testing.assert_close(conv(x, edges[:, order], attr[order]), expected)
    out, _ = conv(x, edges, attr, return_attention_weights=True)
    torch.testing.assert_close(out, expected)
    conv.dropout = 0.5
    conv(x, edges, attr)
