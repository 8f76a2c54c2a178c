"""What a model is trained on: windows, or the sequences of windows that lead up to them. Batches are packed from these.

Legend: G samples, T windows of a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candor.errors import DataError
from candor.ids.config import GatConfig, TemporalConfig, VgaeConfig
from candor.ids.graphs.store import GraphStore
from candor.ids.models.temporal import SequenceSampler, histories, sequence_sizes
from candor.ids.scoring import window_rows
from candor.learn.batching import BatchSampler
from candor.learn.sampling import BudgetSampler

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """The training samples of a model.

    Attributes:
        store: the windows that they are made of. history_GT: the windows of each sequence, None for single windows.
        node_counts, edge_counts: of each sample, ``[G]``: what a budget counts.
    """

    store: GraphStore
    history_GT: I64 | None
    node_counts: I64
    edge_counts: I64

    @classmethod
    def of(cls, model: VgaeConfig | GatConfig | TemporalConfig, graphs: Path) -> Samples:
        """Of the training split of a build_train artifact: a VGAE learns from benign windows only.

        Raises DataError if there is none.
        """
        store = GraphStore.open(graphs / "train")
        if isinstance(model, VgaeConfig):
            store = store.subset(np.flatnonzero(store.y_G == 0))
        if not len(store):
            raise DataError(
                "the training split has no window to try",
                place=str(graphs),
                hint="Use shorter windows, or more (for a VGAE: benign) training traffic.",
            )
        if not isinstance(model, TemporalConfig):
            return cls(store, None, store.node_counts, store.edge_counts)
        history_GT = histories_of(store, model)
        return cls(store, history_GT, *sequence_sizes(history_GT, store.node_counts, store.edge_counts))

    def windows(self, samples: I64) -> I64:
        """Positions in the store of the windows of some samples, one sample after the other."""
        return samples if self.history_GT is None else self.history_GT[samples].ravel()

    def batches(self, sampler: BudgetSampler) -> BatchSampler:
        """Batches of windows, of a sampler that packs samples."""
        return sampler if self.history_GT is None else SequenceSampler(self.history_GT, sampler)


def histories_of(store: GraphStore, config: TemporalConfig) -> I64:
    """The windows that lead up to each window of a whole store, ``[G, T]``."""
    number_G = window_rows(store.path, "val")["window"].to_numpy()
    return histories(store.window_G, number_G, config.windows)
