"""Convolutions by cugraph-ops: what is told where they are missing, and that they compute what PyG's compute."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from tiny_world import TinyWorld
from torch import Tensor
from torch_geometric.nn import GATConv, GATv2Conv

from candor.errors import ExtraMissing
from candor.ids.config import ConvConfig, CugraphGatConv, CugraphGatv2Conv, GatConfig
from candor.ids.models.blocks import convolution
from candor.ids.models.cugraph import CugraphConvolution, csc

HERE = torch.cuda.is_available() and importlib.util.find_spec("cugraph_pyg") is not None
KINDS: list[tuple[ConvConfig, type]] = [(CugraphGatConv(), GATConv), (CugraphGatv2Conv(), GATv2Conv)]


def edges(world: TinyWorld) -> tuple[Tensor, Tensor, Tensor]:
    batch = world.batch("train", [0, 1, 2, 3])
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch.num_nodes, 16, generator=generator), batch.edge_index, batch.edge_attr


def test_the_kind_chooses_the_kernels() -> None:
    config = GatConfig.model_validate({"conv": {"kind": "cugraph_gatv2", "num_heads": 2}})
    assert config.conv == CugraphGatv2Conv(num_heads=2)


def test_where_there_is_no_device_it_says_what_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExtraMissing, match=r"runs on CUDA.*Use conv.kind=gatv2"):
        convolution(CugraphGatv2Conv(), 16, 16, 11)


def test_where_the_library_is_missing_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cugraph_pyg", None)
    with pytest.raises(ExtraMissing, match=r"needs cugraph-pyg.*pylibcugraphops"):
        convolution(CugraphGatConv(), 16, 16, 11)


def test_the_format_of_the_kernels_holds_the_same_edges(world: TinyWorld) -> None:
    x, edge_index, _ = edges(world)
    source, first, nodes = csc(edge_index, len(x))
    assert nodes == len(x)
    target = torch.repeat_interleave(torch.arange(nodes), first[1:] - first[:-1])
    assert torch.stack([source, target]).equal(edge_index)


def test_edges_in_another_order_are_refused() -> None:
    with pytest.raises(RuntimeError, match="sorted by target"):
        csc(torch.tensor([[0, 1], [1, 0]]), 2)


class FromCsc(torch.nn.Module):
    """A layer that takes the kernels' format, computed by PyG."""

    def __init__(self, layer: type, in_width: int, out: int, *, heads: int, edge_dim: int) -> None:
        super().__init__()
        self.layer = layer(in_width, out, heads, edge_dim=edge_dim, add_self_loops=False)

    def forward(self, x: Tensor, of: tuple[Tensor, Tensor, int], edge_attr: Tensor) -> Tensor:
        source, first, nodes = of
        target = torch.repeat_interleave(torch.arange(nodes), first[1:] - first[:-1])
        return self.layer(x, torch.stack([source, target]), edge_attr)


@pytest.mark.parametrize(("config", "layer"), KINDS)
def test_edges_and_their_features_reach_the_kernels_in_one_order(
    world: TinyWorld, monkeypatch: pytest.MonkeyPatch, config: ConvConfig, layer: type
) -> None:
    kernels = ModuleType("cugraph_pyg.nn")
    kernels.GATConv = lambda *a, **k: FromCsc(GATConv, *a, **k)
    kernels.GATv2Conv = lambda *a, **k: FromCsc(GATv2Conv, *a, **k)
    package = ModuleType("cugraph_pyg")
    package.nn = kernels
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cugraph_pyg", package)
    monkeypatch.setitem(sys.modules, "cugraph_pyg.nn", kernels)
    x, edge_index, edge_attr = edges(world)
    ours = convolution(config, 16, 16, 11)
    assert isinstance(ours, CugraphConvolution)
    theirs = ours.layer.layer
    assert isinstance(theirs, layer)
    torch.testing.assert_close(ours(x, edge_index, edge_attr), theirs(x, edge_index, edge_attr))


@pytest.mark.skipif(not HERE, reason="needs a CUDA device and cugraph-pyg")
@pytest.mark.parametrize(("config", "layer"), KINDS)
def test_the_kernels_compute_what_pyg_computes(world: TinyWorld, config: ConvConfig, layer: type) -> None:
    x, edge_index, edge_attr = (v.cuda() for v in edges(world))
    ours = convolution(config, 16, 16, 11).cuda()
    theirs = layer(16, 4, 4, edge_dim=11, add_self_loops=False).cuda()
    kernel = ours.layer
    with torch.no_grad():
        theirs.lin_edge.weight.copy_(kernel.lin_edge.weight)
        if layer is GATConv:
            theirs.lin.weight.copy_(kernel.lin.weight)
            for part, own in zip(
                kernel.att.view(3, 1, 4, 4), (theirs.att_src, theirs.att_dst, theirs.att_edge), strict=True
            ):
                own.copy_(part)
        else:
            theirs.lin_l.load_state_dict(kernel.lin_src.state_dict())
            theirs.lin_r.load_state_dict(kernel.lin_dst.state_dict())
            theirs.att.copy_(kernel.att.view(1, 4, 4))
        theirs.bias.copy_(kernel.bias)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = ours(x_ours, edge_index, edge_attr), theirs(x_theirs, edge_index, edge_attr)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=1e-3, atol=1e-4)
