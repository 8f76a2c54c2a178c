"""Detectors of frames explained by themselves: they name the ID, and the view of its frames, that weigh most in every score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from candor.flow.stage import Inputs
from candor.ids.config import ExplainTask
from candor.ids.explanation.detectors import Explanation
from candor.ids.explanation.importance import Importance, Losses
from candor.ids.graphs.store import GraphStore


@dataclass(frozen=True)
class Causes:
    """``by_window``: (capture, window) → (ID key, view); an ID of -1 is none."""

    detector: str
    store: GraphStore
    by_window: Mapping[tuple[str, int], tuple[int, str]]

    @classmethod
    def load(cls, inputs: Inputs, store: GraphStore, detector: str) -> Causes:
        """From the scores of the detector (causes.parquet)."""
        table = pl.read_parquet(inputs.path(f"score_{detector}") / "causes.parquet").filter(split="test")
        rows = table.select("capture", "window", "node_id", "view").iter_rows()
        return cls(detector, store, {(capture, window): (node, view) for capture, window, node, view in rows})

    def explain(self, index: int, row: Mapping[str, Any], config: ExplainTask) -> Explanation:
        """Window ``index`` of the store. Nothing is masked or dropped, so there is no fidelity to measure."""
        graph = self.store.gather([index])
        node, view = self.by_window[row["capture"], row["window"]]
        nodes, edges = graph.x_ND.shape, graph.edge_index_2E.shape[1]
        nothing_ND, nothing_E = np.zeros(nodes), np.zeros(edges)
        importance = Importance(
            decided=int(row["prediction"]),
            margin=float(row["score"] - row["threshold"]),
            x_ND=nothing_ND,
            expected_ND=None,
            feature_ND=nothing_ND,
            effect_ND=nothing_ND,
            node_N=(graph.node_id_N == node).astype(np.float64),
            edge_E=nothing_E,
            attention_E=nothing_E,
            alone_E=nothing_E,
            lost=Losses(),
        )
        return Explanation(graph, self.detector, importance, cause=(view, node) if node >= 0 else None)
