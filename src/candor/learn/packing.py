"""Graphs into batches, compiled: first fit among the batches that are still open.

A loop over a million graphs takes 1 s in Python and 10 ms here, every epoch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(nogil=True, cache=True)


@_jit
def first_fit(order_G, nodes_G, edges_G, max_nodes, max_edges, max_open):  # type: ignore[no-untyped-def]
    """Batch of each graph in ``order_G``; numbers rise in the order in which batches were opened.

    A graph goes into the oldest of at most ``max_open`` open batches that has room for it; where none has, the oldest
    is closed and a new one opened. With ``max_open`` 1 batches are runs of the order. A graph larger than a budget
    has a batch of its own.
    """
    batch_G = np.empty(len(order_G), np.int64)
    number, open_nodes, open_edges = np.empty((3, max_open), np.int64)
    count = held = 0
    for i in range(len(order_G)):
        n, e = nodes_G[order_G[i]], edges_G[order_G[i]]
        if n > max_nodes or e > max_edges:
            batch_G[i] = count
            count += 1
            continue
        at = 0
        while at < held and (open_nodes[at] + n > max_nodes or open_edges[at] + e > max_edges):
            at += 1
        if at == held:
            if held == max_open:
                for k in range(1, held):
                    number[k - 1], open_nodes[k - 1], open_edges[k - 1] = (
                        number[k],
                        open_nodes[k],
                        open_edges[k],
                    )
                at = held - 1
            else:
                held += 1
            number[at], open_nodes[at], open_edges[at] = count, 0, 0
            count += 1
        batch_G[i] = number[at]
        open_nodes[at] += n
        open_edges[at] += e
    return batch_G
