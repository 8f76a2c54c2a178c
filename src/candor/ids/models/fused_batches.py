"""A model's entry and its pooling on CPU, in a few compiled passes. ``blocks`` says both in torch, for other devices.

Shapes: N nodes, E edges, D node features, F edge features, Z embedding width, G graphs, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from candor.ids.models import compiled_batches as compiled


def on_cpu(*tensors: Tensor) -> bool:
    """Whether compiled passes may read these: on CPU, floats in single precision, nobody tracing."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.int64) for t in tensors)


def arrays(*tensors: Tensor) -> Any:
    """The tensors' memory, contiguous."""
    return [t.detach().contiguous().numpy() for t in tensors]


def slots(ids_V: Tensor, node_id_N: Tensor, batch_N: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
    """Vocabulary slot of each node (0 unknown), and the share of each graph's nodes that have one."""
    at_N = torch.searchsorted(ids_V, node_id_N)
    slot_N, known_G = torch.empty_like(at_N), torch.zeros(num_graphs)
    compiled.known_shares(*arrays(ids_V, at_N, node_id_N, batch_N), *_own(slot_N, known_G, known_G.clone()))
    return slot_N, known_G


def hide(slot_N: Tensor, batch_N: Tensor, hide_G: Tensor, draw_N: Tensor | None, rate: float) -> None:
    """Set slots to 0, in place: those of hidden graphs, and those whose draw is below ``rate``."""
    draw = np.empty(0, np.float32) if draw_N is None else draw_N.numpy()
    compiled.hide(*arrays(batch_N, hide_G), draw, np.float32(rate), *_own(slot_N))


class _Nodes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor, embedding: Tensor, scaling: Any, clip: float) -> Tensor:
        out = x.new_empty(len(x), x.shape[1] + embedding.shape[1])
        mean, std, aware = arrays(*scaling)
        compiled.scale_nodes(
            *(*arrays(x), mean, std, np.float32(clip), aware, *arrays(slot, embedding), *_own(out))
        )
        ctx.save_for_backward(slot, embedding)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slot, embedding = ctx.saved_tensors
        g_NZ = grads[0][:, grads[0].shape[1] - embedding.shape[1] :]
        return None, None, torch.zeros_like(embedding).index_add_(0, slot, g_NZ), None, None


def enter_nodes(
    x_ND: Tensor, slot_N: Tensor, embedding_VZ: Tensor, scaling: tuple[Tensor, Tensor, Tensor], clip: float
) -> Tensor:
    """``[N, D + Z]``: scaled features, the ID-aware ones 0 where the slot is, and the slot's embedding."""
    out: Tensor = _Nodes.apply(x_ND, slot_N, embedding_VZ, scaling, clip)  # type: ignore[no-untyped-call]
    return out


def enter_edges(
    edge_attr_EF: Tensor,
    index_2E: Tensor,
    slot_N: Tensor,
    scaling: tuple[Tensor, Tensor],
    clip: float,
    *,
    blank: bool,
) -> Tensor:
    """Scaled edge features; with ``blank`` 0 where either end is unknown."""
    out = torch.empty_like(edge_attr_EF)
    given = arrays(edge_attr_EF, *scaling)
    ends = arrays(index_2E[0], index_2E[1], slot_N)
    compiled.scale_edges(*given, np.float32(clip), *ends, blank, *_own(out))
    return out


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        size, out = h.new_empty(num_graphs), h.new_empty(num_graphs, 2 * h.shape[1])
        compiled.pool(*arrays(batch, h), *_own(size, out))
        ctx.save_for_backward(batch, h, size, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        batch, h, size, out = ctx.saved_tensors
        g_h = torch.empty_like(h)
        given = arrays(batch, h, size, out, grads[0])
        compiled.pool_backward(*given, *_own(torch.empty_like(out), g_h))
        return g_h, None, None


def mean_and_max(h_NW: Tensor, batch_N: Tensor, num_graphs: int) -> Tensor:
    """Mean and maximum of each graph's nodes, ``[G, 2W]``; 0 for an empty graph."""
    made: Tensor = _Pool.apply(h_NW.contiguous(), batch_N, num_graphs)  # type: ignore[no-untyped-call]
    return made


def _own(*tensors: Tensor) -> Any:
    """The memory itself, to be written."""
    return [t.detach().numpy() for t in tensors]
