"""GATv2 attention, and the residual block around it, on CPU: a few compiled passes instead of dozens of tensors.

Edges come sorted by target, so a node's softmax is a run of edges. Same arithmetic as torch_geometric's GATv2Conv and
torch's layer norm, ELU and dropout in float32, summed in another order; dropout draws the same masks.

Shapes: N nodes, E edges, F edge features, H heads, C channels per head, W = H·C.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from candor.ids.models import compiled_attention as compiled
from candor.ids.models.fused_dropout import keep_mask


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, edge: Tensor, att: Tensor, index: Tensor, slope: float) -> Tensor:
        out, *kept = _attend(both, edge.clone(), att, index, slope)
        ctx.save_for_backward(both, att, index, *kept)
        ctx.slope = slope
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*_attend_backward(ctx.slope, grads[0].contiguous(), *ctx.saved_tensors), None, None)


@cache
def _columns(heads: int, channels: int) -> Any:
    """``[H, W]``: ones at the columns of each head."""
    return np.repeat(np.eye(heads, dtype=np.float32), channels, axis=1)


def _heads(att: Tensor) -> tuple[Any, Any]:
    """``[H, W]`` each: ones at the columns of each head, and there its attention vector. In NumPy: as tensors these few
    numbers took as long as a pass over the edges."""
    ones_HW = _columns(*att.shape)
    return ones_HW, ones_HW * att.detach().numpy().reshape(-1)


def _attend(
    both: Tensor, edge: Tensor, att: Tensor, index: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Messages, and what their gradient needs; ``edge`` is overwritten."""
    (ones_HW, att_HW), alpha = _heads(att), both.new_empty(len(edge), len(att))
    out = both.new_zeros(len(both), edge.shape[1])
    (source, target), both_n, met, alpha_n = _arrays(index, both, edge, alpha)
    compiled.meet(source, target, both_n, np.float32(slope), att_HW, met, alpha_n)
    compiled.share(target, alpha_n)
    compiled.mix(source, target, alpha_n, ones_HW, both_n, *_arrays(out))
    return out, edge, alpha


def _attend_backward(
    slope: float, g_out: Tensor, both: Tensor, att: Tensor, index: Tensor, met: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by ``both``, ``edge`` and ``att``."""
    (ones_HW, att_HW), g_score = _heads(att), torch.empty_like(alpha)
    g_edge, g_both = torch.empty_like(met), torch.zeros_like(both)
    (source, target), alpha_n, g_out_n, g_score_n = _arrays(index, alpha, g_out, g_score)
    row = np.empty(met.shape[1], np.float32)
    compiled.mix_backward(source, target, *_arrays(both), ones_HW, g_out_n, row, g_score_n)
    compiled.share_backward(target, alpha_n, g_score_n)
    compiled.meet_backward(
        *(source, target, *_arrays(met), np.float32(slope), ones_HW, att_HW),
        *(alpha_n, g_score_n, g_out_n, row, *_arrays(g_edge, g_both)),
    )
    (per_head_HW,) = _arrays(g_score.t() @ met)
    return g_both, g_edge, torch.from_numpy((per_head_HW * ones_HW).sum(axis=0)).view_as(att)


def _arrays(*tensors: Tensor) -> Any:
    return [t.detach().numpy() if t.requires_grad else t.numpy() for t in tensors]


class _Block(torch.autograd.Function):
    """h + dropout(ELU(GATv2(layer norm(h)))), see ``residual_block``."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, edge_attr: Tensor, index: Tensor, keep: Tensor, options: Any, *weights: Tensor
    ) -> Tensor:
        norm_w, norm_b, both_w, both_b, edge_w, att, bias = weights
        eps, slope, scale = options
        stats, normed = h.new_empty(len(h), 2), torch.empty_like(h)
        compiled.normalise(*_arrays(h, norm_w, norm_b), eps, *_arrays(stats, normed))
        both, edge = torch.addmm(both_b, normed, both_w.t()), edge_attr @ edge_w.t()
        message, *attended = _attend(both, edge, att, index, slope)
        active, out = torch.empty_like(h), torch.empty_like(h)
        compiled.activate(*_arrays(message, bias, h, keep), scale, *_arrays(active, out))
        ctx.save_for_backward(h, edge_attr, index, keep, *weights, stats, normed, active, both, *attended)
        ctx.options = options
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        h, edge_attr, index, keep, norm_w, _, both_w, _, edge_w, att, bias, *made = ctx.saved_tensors
        stats, normed, active, both, *attended = made
        _, slope, scale = ctx.options
        g_out, g_message, g_bias = grads[0].contiguous(), torch.empty_like(h), torch.zeros_like(bias)
        compiled.activate_backward(*_arrays(g_out, active, keep), scale, *_arrays(g_message, g_bias))
        g_both, g_edge, g_att = _attend_backward(slope, g_message, both, att, index, *attended)
        g_h, g_norm_w, g_norm_b = torch.empty_like(h), torch.zeros_like(norm_w), torch.zeros_like(norm_w)
        compiled.normalise_backward(
            *_arrays(h, norm_w, stats, g_both @ both_w, g_out, g_h, g_norm_w, g_norm_b)
        )
        g_edge_attr = g_edge @ edge_w if ctx.needs_input_grad[1] else None
        g_weights = (g_norm_w, g_norm_b, g_both.t() @ normed, g_both.sum(0), g_edge.t() @ edge_attr)
        return (g_h, g_edge_attr, None, None, None, *g_weights, g_att, g_bias)


class _Elu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        compiled.elu(*_arrays(x.view(-1), out.view(-1)))
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        g_x = torch.empty_like(out)
        compiled.elu_backward(*_arrays(out.view(-1), grads[0].contiguous().view(-1), g_x.view(-1)))
        return g_x


def elu(x: Tensor) -> Tensor:
    """ELU on CPU, three times as fast as torch's: its exponential is not quite the library's, within 2e-7."""
    out: Tensor = _Elu.apply(x.contiguous())  # type: ignore[no-untyped-call]
    return out


class FusedGatv2(GATv2Conv):  # type: ignore[misc]
    """GATv2Conv that takes the fused passes where it can: CPU, float32, edges sorted by target, nobody looking inside.

    Parameters, initialisation and state are those of GATv2Conv, and so is everything else it is asked for.
    """

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, *args: Any, **kwargs: Any) -> Any:
        block: Any = kwargs.pop("block", None)
        if block:  # Called, not passed by: profilers hook into this layer.
            return residual_block(self, block[0], block[1], x, edge_index, edge_attr)
        if args or kwargs or not self.can_fuse(x, edge_index, edge_attr):
            return super().forward(x, edge_index, edge_attr, *args, **kwargs)
        both = torch.cat([self.lin_l(x), self.lin_r(x)], dim=1)
        edge = self.lin_edge(edge_attr)
        out: Tensor = _Attention.apply(both, edge, self.att[0], edge_index, self.negative_slope)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias

    def can_fuse(self, x: Any, edge_index: Any, edge_attr: Any) -> bool:
        """Whether the fused passes give what GATv2Conv would."""
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        tensors = all(isinstance(v, Tensor) and v.device.type == "cpu" for v in (x, edge_index, edge_attr))
        if not tensors or x.dtype != torch.float32 or self.explain or edge_index.shape[1] == 0:
            return False
        if (self.training and self.dropout > 0) or self.add_self_loops or not self.concat or self.residual:
            return False
        target_E = edge_index[1]
        return bool((target_E[1:] >= target_E[:-1]).all())


def residual_block(
    conv: FusedGatv2, norm: nn.LayerNorm, dropout: nn.Dropout, h_NW: Tensor, index_2E: Tensor, e_EF: Tensor
) -> Tensor:
    """``h + dropout(elu(conv(norm(h), index, e)))`` where ``conv.can_fuse``."""
    keep = h_NW.new_empty(0, 0)
    if dropout.training and dropout.p > 0:
        keep = keep_mask(h_NW.shape, 1 - dropout.p)
    scale = 1.0 / (1.0 - dropout.p) if dropout.p < 1 else 0.0
    weights = (
        *(norm.weight, norm.bias, torch.cat([conv.lin_l.weight, conv.lin_r.weight])),
        *(torch.cat([conv.lin_l.bias, conv.lin_r.bias]), conv.lin_edge.weight, conv.att[0], conv.bias),
    )
    options = (np.float32(norm.eps), np.float32(conv.negative_slope), np.float32(scale))
    out: Tensor = _Block.apply(h_NW.contiguous(), e_EF.contiguous(), index_2E, keep, options, *weights)  # type: ignore[no-untyped-call]
    return out
