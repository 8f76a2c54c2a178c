from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
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
    monkeypatch.setattr(fused_attention, "_attend", lambda *_: pytest.fail("fused"))
    order = torch.randperm(200)
    torch.testing.assert_close(conv(x, edges[:, order], attr[order]), expected)
    out, _ = conv(x, edges, attr, return_attention_weights=True)
    torch.testing.assert_close(out, expected)
    conv.dropout = 0.5
    conv(x, edges, attr)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_residual_block_and_its_gradients_equal_the_layers_it_is_made_of(
    heads: int, dropout: float
) -> None:
    torch.manual_seed(0)
    conv = FusedGatv2(24, 24 // heads, heads, edge_dim=5, add_self_loops=False)
    norm, drop = nn.LayerNorm(24), nn.Dropout(dropout)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias), nn.init.normal_(conv.bias)
    edges = torch.randint(0, 40, (2, 150))
    edges = edges[:, torch.argsort(edges[1], stable=True)]
    attr = torch.randn(150, 5, requires_grad=True)
    x = torch.randn(45, 24, requires_grad=True)  # The last five have no edges.

    def layers() -> torch.Tensor:
        return x + drop(F.elu(GATv2Conv.forward(conv, norm(x), edges, attr)))

    made = []
    for forward in (lambda: fused_attention.residual_block(conv, norm, drop, x, edges, attr), layers):
        torch.manual_seed(1)
        for held in (x, attr, *conv.parameters(), *norm.parameters()):
            held.grad = None
        out = forward()
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        given = [x.grad, attr.grad, *(p.grad for p in (*conv.parameters(), *norm.parameters()))]
        assert all(g is not None for g in given)
        made.append([out.detach(), *given])
    for fused, plain in zip(*made, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=2e-5)


def test_elu_and_its_gradient_are_torchs() -> None:
    x = torch.cat([torch.linspace(-100, 5, 999), torch.tensor([0.0, -0.0, -1e-8])]).requires_grad_()
    made = []
    for way in (fused_attention.elu, F.elu):
        x.grad = None
        out = way(x)
        out.square().sum().backward()
        made.append((out.detach(), x.grad))
    for fused, plain in zip(*made, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-6, atol=3e-7)
