"""Compiled passes over a batch on CPU, before and behind the convolutions. Called through ``fused_batches``.

Shapes: N nodes, E edges, D node features, F edge features, Z embedding width, G graphs, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# No reference counts: see graphs.compiled.
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)


@_jit
def hide(batch_N, hide_G, draw_N, rate, slot_N):  # type: ignore[no-untyped-def]
    """Slot 0 where the graph is hidden or the draw is below ``rate``; no draws: by graph alone."""
    drawn = len(draw_N) > 0
    for n in range(len(slot_N)):
        if hide_G[batch_N[n]] or (drawn and draw_N[n] < rate):
            slot_N[n] = 0


@_jit
def known_shares(ids_V, at_N, node_id_N, batch_N, slot_N, known_G, size_G):  # type: ignore[no-untyped-def]
    """Slots by the place of each ID in the vocabulary, and the share of each graph's nodes that have one."""
    for n in range(len(at_N)):
        at = min(at_N[n], len(ids_V) - 1)
        known = ids_V[at] == node_id_N[n]
        slot_N[n] = at + 1 if known else 0
        size_G[batch_N[n]] += 1
        known_G[batch_N[n]] += known
    for g in range(len(size_G)):
        known_G[g] /= max(size_G[g], np.float32(1.0))


@_jit
def scale_nodes(x, mean, std, clip, aware, slot_N, embedding, out):  # type: ignore[no-untyped-def]
    """``out[N, D + Z]``: features scaled, clipped, and blanked where the ID is unknown; the embedding behind them."""
    width = x.shape[1]
    for n in range(x.shape[0]):
        for c in range(width):
            out[n, c] = min(max((x[n, c] - mean[c]) / std[c], -clip), clip)
        slot = slot_N[n]
        if slot == 0:
            for c in range(width):
                out[n, c] = np.float32(0.0) if aware[c] else out[n, c]
        for c in range(embedding.shape[1]):
            out[n, width + c] = embedding[slot, c]


@_jit
def scale_edges(edge_attr, mean, std, clip, source, target, slot_N, blank, out):  # type: ignore[no-untyped-def]
    """Edge features scaled and clipped; 0 where ``blank`` and either end is unknown."""
    width = edge_attr.shape[1]
    for e in range(edge_attr.shape[0]):
        if blank and (slot_N[source[e]] == 0 or slot_N[target[e]] == 0):
            for c in range(width):
                out[e, c] = 0.0
        else:
            for c in range(width):
                out[e, c] = min(max((edge_attr[e, c] - mean[c]) / std[c], -clip), clip)


@_jit
def pool(batch_N, h, size_G, out):  # type: ignore[no-untyped-def]
    """``out[G, 2W]``: mean, then maximum of each graph's nodes, 0 for an empty graph; ``size_G`` at least 1."""
    width = h.shape[1]
    for g in range(out.shape[0]):
        size_G[g] = 0
        for c in range(width):
            out[g, c] = np.float32(0.0)
        for c in range(width):
            out[g, width + c] = -np.inf
    for n in range(h.shape[0]):
        g = batch_N[n]
        size_G[g] += 1
        for c in range(width):
            out[g, c] += h[n, c]
        for c in range(width):
            out[g, width + c] = max(out[g, width + c], h[n, c])
    for g in range(out.shape[0]):
        if size_G[g] == 0:
            size_G[g] = 1
            for c in range(width):
                out[g, width + c] = np.float32(0.0)
        for c in range(width):
            out[g, c] /= size_G[g]


@_jit
def pool_backward(batch_N, h, size_G, out, g_out, share, g_h):  # type: ignore[no-untyped-def]
    """Gradient of ``pool``. Equal largest nodes share, as torch has it; ``share[G, 2W]`` is scratch."""
    width = h.shape[1]
    for g in range(out.shape[0]):
        for c in range(width):
            share[g, c] = g_out[g, c] / size_G[g]
        for c in range(width):
            share[g, width + c] = np.float32(0.0)
    for n in range(h.shape[0]):
        g = batch_N[n]
        for c in range(width):
            share[g, width + c] += np.float32(1.0) if h[n, c] == out[g, width + c] else np.float32(0.0)
    for g in range(out.shape[0]):
        for c in range(width):
            share[g, width + c] = g_out[g, width + c] / max(share[g, width + c], np.float32(1.0))
    for n in range(h.shape[0]):
        g = batch_N[n]
        for c in range(width):
            largest = h[n, c] == out[g, width + c]
            g_h[n, c] = share[g, c] + (share[g, width + c] if largest else np.float32(0.0))
