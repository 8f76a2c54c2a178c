"""Which nodes of a window a VGAE finds odd: its errors per node, kept for the oddest few.

Shapes: N nodes, G graphs, K = nodes kept per window.
"""

from __future__ import annotations

import polars as pl
import torch

from candor.ids.models.vgae import VgaeOutput
from candor.learn.batching import GraphBatch

#: Columns beside those that name the window.
NODE_SCORES = ("rank", "node_id", "feature_error", "id_error", "neighbourhood_error")


class WorstNodes:
    """Collects, over batches, the ``count`` nodes of each window with the largest feature error.

    These are the nodes whose mean is the window's feature error (`worst_nodes_mean`), so the table says whose doing an
    alarm of the VGAE is.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[pl.DataFrame] = []

    def add(self, output: VgaeOutput, batch: GraphBatch) -> None:
        """Keep the oddest nodes of each window of a batch; ``batch.index`` names the windows."""
        order = torch.argsort(output.feature_error_N, descending=True)
        order = order[torch.argsort(batch.batch[order], stable=True)]
        rank_N = torch.arange(len(order), device=order.device) - batch.ptr[batch.batch[order]]
        kept = order[rank_N < self._count]
        columns = {
            "row": batch.index[batch.batch[kept]],
            "rank": rank_N[rank_N < self._count],
            "node_id": batch.node_id[kept],
            "feature_error": output.feature_error_N[kept].double(),
            "id_error": output.id_error_N[kept].double(),
            "neighbourhood_error": output.neighbourhood_error_N[kept].double(),
        }
        self._parts.append(pl.DataFrame({name: value.cpu().numpy() for name, value in columns.items()}))

    def table(self, rows: pl.DataFrame) -> pl.DataFrame:
        """One row per kept node: place and truth of its window (``rows``, in store order), then NODE_SCORES."""
        named = rows.select("split", "scenario", "capture", "window", "t0", "t1", "y")
        if not self._parts:
            return named.clear().with_columns(pl.lit(0.0).alias(name) for name in NODE_SCORES)
        nodes = pl.concat(self._parts).sort("row", "rank")
        return pl.concat([named[nodes["row"].to_numpy()], nodes.select(NODE_SCORES)], how="horizontal")
