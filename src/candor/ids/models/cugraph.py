"""Attention convolutions by NVIDIA's cugraph-ops kernels, through cugraph-pyg. CUDA only, and RAPIDS 24.12 at the latest.

Worth it only where ``candor profile-train`` says that message passing takes more than 30 % of a step. The arithmetic is
that of PyG's GATConv and GATv2Conv with edge features and without self-loops; attention dropout is not to be had.

Batches come from GraphLoader: its edges are sorted by target, which is all that the kernels' format (CSC) asks of a
loader. Those of ``learn.cugraph_loading`` are sorted too, but the cugraph-pyg it needs no longer has these kernels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from candor.errors import ExtraMissing


class CugraphConvolution(nn.Module):
    """``cugraph_pyg.nn.GATConv`` (``gat``) or ``GATv2Conv`` (``gatv2``), called as PyG's layers are.

    Raises ExtraMissing if cugraph-pyg or a CUDA device is not here.
    """

    #: For profilers; it is none of PyG's MessagePassing layers.
    passes_messages = True

    def __init__(
        self, kind: Literal["gat", "gatv2"], in_width: int, per_head: int, heads: int, *, edge_dim: int
    ) -> None:
        super().__init__()
        self.layer = _layers(kind)(in_width, per_head, heads=heads, edge_dim=edge_dim)

    def forward(self, x_NI: Tensor, edge_index_2E: Tensor, e_EF: Tensor) -> Tensor:
        out: Tensor = self.layer(x_NI, csc(edge_index_2E, len(x_NI)), e_EF)
        return out


def csc(edge_index_2E: Tensor, num_nodes: int) -> tuple[Tensor, Tensor, int]:
    """(source of each edge, first edge into each node, nodes) of edges that are sorted by target.

    The order is asserted on the device: to read it here would make the host wait at every layer.
    """
    source_E, target_E = edge_index_2E
    torch._assert_async((target_E[1:] >= target_E[:-1]).all(), "edges must be sorted by target")
    into_N = torch.bincount(target_E, minlength=num_nodes)
    return source_E, torch.cat([into_N.new_zeros(1), into_N.cumsum(0)]), num_nodes


def _layers(kind: Literal["gat", "gatv2"]) -> Any:
    if not torch.cuda.is_available():
        raise ExtraMissing(
            f"conv.kind=cugraph_{kind} runs on CUDA, and there is no device here",
            place="conv.kind",
            hint=f"Use conv.kind={kind}, which computes the same.",
        )
    try:
        from cugraph_pyg import nn as kernels  # type: ignore[import-not-found]
    except ImportError as e:
        raise ExtraMissing(
            f"conv.kind=cugraph_{kind} needs cugraph-pyg",
            place="conv.kind",
            hint=f"Install cugraph-pyg and pylibcugraphops of RAPIDS 24.12, the last with them, or use conv.kind={kind}.",
        ) from e
    return kernels.GATConv if kind == "gat" else kernels.GATv2Conv
