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
def pool(batch_N, h, total, most, size_G):  # type: ignore[no-untyped-def]
    """Sum, maximum (from −∞) and number of each graph's nodes."""
    for n in range(h.shape[0]):
        g = batch_N[n]
        size_G[g] += 1
        for c in range(h.shape[1]):
            total[g, c] += h[n, c]
        for c in range(h.shape[1]):
            most[g, c] = max(most[g, c], h[n, c])


@_jit
def pool_backward(batch_N, h, most, g_mean, g_most, tied, g_h):  # type: ignore[no-untyped-def]
    """Gradient of ``pool``; ``g_mean`` is divided by the sizes already. Equal largest nodes share, as torch has it."""
    for n in range(h.shape[0]):
        g = batch_N[n]
        for c in range(h.shape[1]):
            tied[g, c] += np.float32(1.0) if h[n, c] == most[g, c] else np.float32(0.0)
    for g in range(g_most.shape[0]):
        for c in range(h.shape[1]):
            g_most[g, c] /= max(tied[g, c], np.float32(1.0))
    for n in range(h.shape[0]):
        g = batch_N[n]
        for c in range(h.shape[1]):
            g_h[n, c] = g_mean[g, c] + (g_most[g, c] if h[n, c] == most[g, c] else np.float32(0.0))
