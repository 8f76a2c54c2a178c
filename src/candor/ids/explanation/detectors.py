"""Which model answers for a decision: the classifier, the autoencoder or the temporal detector; for the fusion, whoever decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from candor.flow.stage import Inputs
from candor.ids.config import ExplainTask
from candor.ids.explanation.autoencoder import AutoencoderSubject
from candor.ids.explanation.classifier import ClassifierSubject
from candor.ids.explanation.fused import Verdict, verdict
from candor.ids.explanation.importance import F64, Importance, Subject, explain_window
from candor.ids.explanation.sequence import SequenceSubject
from candor.ids.fusion.policy import Policy
from candor.ids.fusion.states import AnomalyScale, WindowViews, gat_view, raw_vgae_view
from candor.ids.graphs.store import GraphStore, PackedBatch
from candor.ids.models.gat import Gat
from candor.ids.models.store import load_gat, load_vgae
from candor.ids.models.temporal import Temporal, histories
from candor.ids.models.vgae import Vgae
from candor.ids.temporal import load_temporal
from candor.ids.training import load_fusion
from candor.learn.batching import GraphBatch

#: What answers, by detector; the fusion's own is the one that decided.
ANSWERS: Final = {"gat": "classifier", "vgae": "autoencoder", "temporal": "temporal"}
#: Unit of the margin of each.
UNITS: Final = {"classifier": "log odds", "autoencoder": "benign sd of its score", "temporal": "log odds"}


@dataclass(frozen=True)
class Explanation:
    """One explained window.

    Attributes:
        answers: whose importance it is, a value of ANSWERS. verdict: how the fused score came about, for the fusion alone.
        gat_probability, vgae_probability: what both say. vgae_error_N: feature error of every node.
        window_share_T: attention over the windows up to this one, for the temporal detector alone.
        cause: (view, ID key) behind the score, for the payload detector alone, which has none of the rest.
    """

    graph: PackedBatch
    answers: str
    importance: Importance
    gat_probability: float | None = None
    vgae_probability: float | None = None
    vgae_error_N: F64 | None = None
    verdict: Verdict | None = None
    window_share_T: F64 | None = None
    cause: tuple[str, int] | None = None


@dataclass(frozen=True)
class Detectors:
    """The models of one variant and seed, and the windows they are asked about.

    ``number_G``: ordinals of the windows in their captures.
    """

    store: GraphStore
    number_G: NDArray[np.int64]
    gat: Gat
    vgae: Vgae
    policy: Policy
    scale: AnomalyScale
    temporal: Temporal | None

    @classmethod
    def load(cls, inputs: Inputs, store: GraphStore, number_G: NDArray[np.int64]) -> Detectors:
        """From the artifacts ``gat``, ``vgae``, ``fusion`` and, where there is one, ``temporal``."""
        policy, scale = load_fusion(inputs.path("fusion"))
        temporal = load_temporal(inputs.path("temporal")) if "temporal" in inputs.paths else None
        gat, vgae = load_gat(inputs.path("gat")), load_vgae(inputs.path("vgae"))
        return cls(store, number_G, gat.eval(), vgae.eval(), policy, scale, temporal)

    def explain(self, index: int, row: Mapping[str, Any], config: ExplainTask) -> Explanation:
        """Window ``index`` of the store. ``row``: of the predictions of the detector that is explained."""
        graph = self.store.gather([index])
        batch = GraphBatch.of(graph)
        with torch.no_grad():
            output = self.vgae(batch)
            views = WindowViews(
                raw_vgae_view(self.vgae, output, batch).numpy(), gat_view(self.gat, batch).numpy()
            )
        gat, vgae = float(views.gat_probability[0]), float(views.anomaly_probability(self.scale)[0])
        fused = None
        if config.detector == "fusion":
            fused = verdict(self.policy, views.states(self.scale)[0], gat, vgae, row["threshold"])
        by = fused.decider if fused else config.detector
        # What the autoencoder adds to a fusion is a probability, which is one half at its own limit.
        cut = self.scale.limit if fused else row["threshold"]
        subject = self._subject(by, index, batch, cut)
        importance = explain_window(subject, config, np.random.default_rng([config.seed, index]))
        return Explanation(
            graph,
            ANSWERS[by],
            importance,
            gat,
            vgae,
            output.feature_error_N.numpy().astype(np.float64),
            fused,
            subject.window_share_T if isinstance(subject, SequenceSubject) else None,
        )

    def _subject(self, by: str, index: int, batch: GraphBatch, cut: float) -> Subject:
        if by == "vgae":
            return AutoencoderSubject(self.vgae, self.scale, cut, batch)
        if by == "temporal":
            assert self.temporal is not None  # The plan gives it where this detector is explained.
            length = self.temporal.config.windows
            history_T = histories(self.store.window_G, self.number_G, length)[index]
            return SequenceSubject(self.temporal, GraphBatch.of(self.store.gather(history_T)))
        return ClassifierSubject(self.gat, batch)
