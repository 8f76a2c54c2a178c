"""GATv2 attention on CPU in one compiled pass forward and one backward, instead of a dozen tensors of E rows.

Edges come sorted by target, so a node's softmax is a run of edges. Same arithmetic as torch_geometric's GATv2Conv in
float32, summed in another order.

Shapes: N nodes, E edges, H heads, C channels per head.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch_geometric.nn import GATv2Conv

_jit = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@_jit
def _forward(source, target, left, right, edge, att, slope, alpha, out):  # type: ignore[no-untyped-def]
    heads, channels = att.shape
    for e in range(len(source)):
        i, j = source[e], target[e]
        for h in range(heads):
            score = np.float32(0.0)
            for c in range(channels):
                z = left[i, h, c] + right[j, h, c] + edge[e, h, c]
                score += att[h, c] * (z if z > 0 else slope * z)
            alpha[e, h] = score
    first = 0
    while first < len(source):
        j, end = target[first], first
        while end < len(source) and target[end] == j:
            end += 1
        for h in range(heads):
            most, total = alpha[first, h], np.float32(0.0)
            for e in range(first, end):
                most = max(most, alpha[e, h])
            for e in range(first, end):
                alpha[e, h] = math.exp(alpha[e, h] - most)
                total += alpha[e, h]
            for e in range(first, end):
                alpha[e, h] /= total + np.float32(1e-16)
                i, share = source[e], alpha[e, h]
                for c in range(channels):
                    out[j, h, c] += share * left[i, h, c]
        first = end


@_jit
def _backward(source, target, left, right, edge, att, slope, alpha, g_out, g_left, g_right, g_edge, g_att):  # type: ignore[no-untyped-def]
    heads, channels = att.shape
    slope_of = np.empty(heads, np.float32)
    first = 0
    while first < len(source):
        j, end = target[first], first
        while end < len(source) and target[end] == j:
            end += 1
        for h in range(heads):
            # d softmax: alpha · (dα − Σ alpha dα); the sum is g_out · out, gathered while dα is at hand.
            slope_of[h] = 0.0
            for e in range(first, end):
                i, dot = source[e], np.float32(0.0)
                for c in range(channels):
                    dot += g_out[j, h, c] * left[i, h, c]
                    g_left[i, h, c] += alpha[e, h] * g_out[j, h, c]
                slope_of[h] += alpha[e, h] * dot
                g_edge[e, h, 0] = dot
            for e in range(first, end):
                i, g = source[e], alpha[e, h] * (g_edge[e, h, 0] - slope_of[h])
                for c in range(channels):
                    z = left[i, h, c] + right[j, h, c] + edge[e, h, c]
                    up = np.float32(1.0) if z > 0 else slope
                    g_att[h, c] += g * up * z
                    d = g * att[h, c] * up
                    g_edge[e, h, c] = d
                    g_left[i, h, c] += d
                    g_right[j, h, c] += d
        first = end


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, edge: Tensor, att: Tensor, index: Tensor, slope: float
    ) -> Tensor:
        arrays: Any = [v.detach().contiguous().numpy() for v in (index[0], index[1], left, right, edge, att)]
        alpha = np.empty(arrays[4].shape[:2], np.float32)
        out = np.zeros_like(arrays[2])
        source, target, left_n, right_n, edge_n, att_n = arrays
        _forward(source, target, left_n, right_n, edge_n, att_n, np.float32(slope), alpha, out)
        ctx.arrays, ctx.alpha, ctx.slope = arrays, alpha, slope
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given = [np.zeros_like(a) for a in ctx.arrays[2:]]
        g_out = grads[0].contiguous().numpy()
        source, target, left, right, edge, att = ctx.arrays
        slope = np.float32(ctx.slope)
        _backward(source, target, left, right, edge, att, slope, ctx.alpha, g_out, *given)
        return (*(torch.from_numpy(g) for g in given), None, None)


def attention(
    left_NHC: Tensor, right_NHC: Tensor, edge_EHC: Tensor, att_HC: Tensor, index_2E: Tensor, slope: float
) -> Tensor:
    """Σ over the edges into each node of softmax(att · leaky(left + right + edge)) · left; f32[N, H, C].

    ``index_2E`` must be sorted by target, on CPU.
    """
    out: Tensor = _Attention.apply(left_NHC, right_NHC, edge_EHC, att_HC, index_2E, slope)  # type: ignore[no-untyped-call]
    return out


class FusedGatv2(GATv2Conv):  # type: ignore[misc]
    """GATv2Conv that takes the fused passes where it can: CPU, float32, edges sorted by target, nobody looking inside.

    Parameters, initialisation and state are those of GATv2Conv, and so is everything else it is asked for.
    """

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._can_fuse(x, edge_index, edge_attr):
            return super().forward(x, edge_index, edge_attr, *args, **kwargs)
        shape = (-1, self.heads, self.out_channels)
        left, right = self.lin_l(x).view(shape), self.lin_r(x).view(shape)
        edge = self.lin_edge(edge_attr).view(shape)
        out = attention(left, right, edge, self.att[0], edge_index, self.negative_slope).flatten(1)
        return out if self.bias is None else out + self.bias

    def _can_fuse(self, x: Any, edge_index: Any, edge_attr: Any) -> bool:
        if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return False
        tensors = all(isinstance(v, Tensor) and v.device.type == "cpu" for v in (x, edge_index, edge_attr))
        if not tensors or x.dtype != torch.float32 or self.explain or edge_index.shape[1] == 0:
            return False
        if (self.training and self.dropout > 0) or self.add_self_loops or not self.concat or self.residual:
            return False
        target_E = edge_index[1]
        return bool((target_E[1:] >= target_E[:-1]).all())
