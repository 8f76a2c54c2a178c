"""Compiled passes of a residual GATv2 block on CPU. Called through ``fused_attention``; PyG's GATv2Conv says them readably.

Each inner loop stores to one array only, and runs over all W columns: LLVM checks at run time that a loop's arrays do not
overlap and gives up on one with many, and what it vectorises takes 32 numbers at a time, more than a head has. What
differs by head is spread over its columns, and summed over them, with ``[H, W]`` of ones at each head's columns.

Shapes: N nodes, E edges, H heads, C channels per head, W = H·C. ``both`` is [N, 2W]: a node's columns as a source, then
as a target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# No reference counts: see graphs.compiled.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS, fastmath={"contract", "reassoc", "nsz"})


@_jit
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x for x <= 0 within 2e-7 of it. The library's is a call per number; this one is vectorised (Cephes, expf)."""
    x = max(x, np.float32(-87.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@_jit
def meet(source, target, both, slope, att_HW, edge, score):  # type: ignore[no-untyped-def]
    """``edge[E, W]`` becomes leaky(source's columns + target's + edge), ``score[E, H]`` its product with ``att_HW``."""
    width = edge.shape[1]
    for e in range(len(source)):
        i, j = source[e], target[e]
        for c in range(width):
            z = both[i, c] + both[j, width + c] + edge[e, c]
            edge[e, c] = max(z, slope * z)
        for h in range(score.shape[1]):
            total = np.float32(0.0)
            for c in range(width):
                total += edge[e, c] * att_HW[h, c]
            score[e, h] = total


@_jit
def share(target, score):  # type: ignore[no-untyped-def]
    """``score[E, H]`` becomes its softmax over the edges into each node."""
    begin = 0
    while begin < len(target):
        end = begin + 1
        while end < len(target) and target[end] == target[begin]:
            end += 1
        for h in range(score.shape[1]):
            most, total = score[begin, h], np.float32(0.0)
            for e in range(begin, end):
                most = max(most, score[e, h])
            for e in range(begin, end):
                score[e, h] = _exp(score[e, h] - most)
                total += score[e, h]
            per_total = np.float32(1.0) / (total + np.float32(1e-16))
            for e in range(begin, end):
                score[e, h] *= per_total
        begin = end


@_jit
def mix(source, target, alpha, ones_HW, both, out):  # type: ignore[no-untyped-def]
    """Adds each source's columns, weighted by its heads' attention, to ``out[N, W]`` of the target."""
    width = out.shape[1]
    for e in range(len(source)):
        i, j = source[e], target[e]
        for h in range(alpha.shape[1]):
            share = alpha[e, h]
            for c in range(width):
                out[j, c] += share * ones_HW[h, c] * both[i, c]


@_jit
def mix_backward(source, target, both, ones_HW, g_out, row, g_alpha):  # type: ignore[no-untyped-def]
    """Gradient of ``mix`` by its weights; ``row[W]`` is scratch."""
    width = g_out.shape[1]
    for e in range(len(source)):
        i, j = source[e], target[e]
        for c in range(width):
            row[c] = g_out[j, c] * both[i, c]
        for h in range(g_alpha.shape[1]):
            total = np.float32(0.0)
            for c in range(width):
                total += row[c] * ones_HW[h, c]
            g_alpha[e, h] = total


@_jit
def share_backward(target, alpha, g):  # type: ignore[no-untyped-def]
    """``g[E, H]``, the gradient by the softmax, becomes that by the scores."""
    begin = 0
    while begin < len(target):
        end = begin + 1
        while end < len(target) and target[end] == target[begin]:
            end += 1
        for h in range(alpha.shape[1]):
            mean = np.float32(0.0)
            for e in range(begin, end):
                mean += alpha[e, h] * g[e, h]
            for e in range(begin, end):
                g[e, h] = alpha[e, h] * (g[e, h] - mean)
        begin = end


@_jit
def meet_backward(source, target, met, slope, ones_HW, att_HW, alpha, g_score, g_out, row, g_edge, g_both):  # type: ignore[no-untyped-def]
    """Gradient by the edges of ``meet``; adds to ``g_both`` that of ``meet`` and ``mix``. ``row[W]`` is scratch.

    ``ones_HW``: ones at each head's columns; ``att_HW``: its attention vector there.
    """
    width = g_out.shape[1]
    for e in range(len(source)):
        i, j = source[e], target[e]
        for c in range(width):
            g_edge[e, c] = g_score[e, 0] * att_HW[0, c]
            row[c] = alpha[e, 0] * ones_HW[0, c]
        for h in range(1, alpha.shape[1]):
            for c in range(width):
                g_edge[e, c] += g_score[e, h] * att_HW[h, c]
            for c in range(width):
                row[c] += alpha[e, h] * ones_HW[h, c]
        for c in range(width):
            g_edge[e, c] *= np.float32(1.0) if met[e, c] > 0 else slope
        for c in range(width):
            g_both[i, c] += g_edge[e, c] + row[c] * g_out[j, c]
        for c in range(width):
            g_both[j, width + c] += g_edge[e, c]


@_jit
def normalise(h, weight, bias, eps, stats, out):  # type: ignore[no-untyped-def]
    """Layer norm; ``stats[N, 2]`` takes the mean and 1 / standard deviation of each row."""
    width = h.shape[1]
    per_width = np.float32(1.0) / np.float32(width)
    for n in range(h.shape[0]):
        mean = square = np.float32(0.0)
        for c in range(width):
            mean += h[n, c]
        mean *= per_width
        for c in range(width):
            square += (h[n, c] - mean) * (h[n, c] - mean)
        scale = np.float32(1.0) / np.sqrt(square * per_width + eps)
        stats[n, 0], stats[n, 1] = mean, scale
        for c in range(width):
            out[n, c] = (h[n, c] - mean) * scale * weight[c] + bias[c]


@_jit
def normalise_backward(h, weight, stats, g_out, g_residual, g_h, g_weight, g_bias):  # type: ignore[no-untyped-def]
    """Gradients of ``normalise``; ``g_h`` starts from ``g_residual``, the other two are added to."""
    width = h.shape[1]
    per_width = np.float32(1.0) / np.float32(width)
    for n in range(h.shape[0]):
        mean, scale = stats[n, 0], stats[n, 1]
        total = along = np.float32(0.0)
        for c in range(width):
            g = g_out[n, c] * weight[c]
            total += g
            along += g * (h[n, c] - mean)
        total *= per_width
        along *= per_width * scale * scale
        for c in range(width):
            g = g_out[n, c] * weight[c] - total - (h[n, c] - mean) * along
            g_h[n, c] = g_residual[n, c] + g * scale
        for c in range(width):
            g_weight[c] += g_out[n, c] * (h[n, c] - mean) * scale
        for c in range(width):
            g_bias[c] += g_out[n, c]


@_jit
def activate(message, bias, h, keep, scale, active, out):  # type: ignore[no-untyped-def]
    """``active`` = ELU(message + bias), and ``out`` = h + dropout of it; ``keep`` is [0, 0] without dropout."""
    dropped = keep.shape[0] > 0
    for n in range(h.shape[0]):
        for c in range(h.shape[1]):
            m = message[n, c] + bias[c]
            active[n, c] = m if m > 0 else _exp(min(m, np.float32(0.0))) - np.float32(1.0)
        if dropped:
            for c in range(h.shape[1]):
                out[n, c] = h[n, c] + active[n, c] * keep[n, c] * scale
        else:
            for c in range(h.shape[1]):
                out[n, c] = h[n, c] + active[n, c]


@_jit
def activate_backward(g_out, active, keep, scale, g_message, g_bias):  # type: ignore[no-untyped-def]
    """Gradients of ``activate`` but that of ``h``, which is ``g_out``; ``g_bias`` is added to."""
    dropped = keep.shape[0] > 0
    for n in range(g_out.shape[0]):
        for c in range(g_out.shape[1]):
            rise = np.float32(1.0) if active[n, c] > 0 else active[n, c] + np.float32(1.0)
            g_message[n, c] = g_out[n, c] * rise
        if dropped:
            for c in range(g_out.shape[1]):
                g_message[n, c] *= keep[n, c] * scale
        for c in range(g_out.shape[1]):
            g_bias[c] += g_message[n, c]


@_jit
def elu(x, out):  # type: ignore[no-untyped-def]
    """ELU of a flat array; ``out`` may be ``x``."""
    for n in range(len(x)):
        out[n] = x[n] if x[n] > 0 else _exp(min(x[n], np.float32(0.0))) - np.float32(1.0)


@_jit
def elu_backward(active, g_out, g_x):  # type: ignore[no-untyped-def]
    """Gradient of ``elu`` by its result."""
    for n in range(len(active)):
        g_x[n] = g_out[n] * (np.float32(1.0) if active[n] > 0 else active[n] + np.float32(1.0))
