"""Detectors of others, in the same table: what a model of ours must beat before its figure means anything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config
from candor.ids.config.evaluation import EvaluationConfig
from candor.ids.config.types import PositiveInt


class SpecialistsConfig(Config):
    """Training-free one-line detectors, relative to the profile of the capture's own vehicle."""

    #: An ID can be missed once the profile holds so many of its frames ...
    min_frames: Annotated[int, Field(ge=2)] = 8
    #: ... and its intervals spread (MAD of their logarithm) by no more than this: an ID that sends by event is never missed.
    max_log_spread: Annotated[float, Field(gt=0)] = 0.5


Learned = Literal["boosted_trees", "isolation_forest", "transitions"]
Graph = Literal["dominant", "ocgnn"]


class BaselinesConfig(Config):
    """Learned baselines, on the training windows of the run."""

    #: ``transitions`` needs named nodes; it is left out on flows.
    learned: tuple[Learned, ...] = ("boosted_trees", "isolation_forest", "transitions")
    #: PyGOD's detectors (extra ``pygod``); slow, so asked for by name.
    pygod: tuple[Graph, ...] = ()
    boosting_rounds: PositiveInt = 150
    #: Rounds without a better validation loss before boosting stops.
    patience: PositiveInt = 15
    forest_trees: PositiveInt = 150
    #: IDs of a sequence in ``transitions``: 2, pairs of neighbours, are the edges of the graphs; longer ones are read from
    #: the frames.
    ngram_order: Annotated[int, Field(ge=2, le=5)] = 2
    #: Added to every transition's count, so that one never seen in training has a probability.
    smoothing: Annotated[float, Field(gt=0)] = 0.1
    #: PyGOD: benign training windows drawn, epochs over them, width, windows of a batch (its adjacency is dense).
    pygod_windows: PositiveInt = 2000
    pygod_epochs: PositiveInt = 5
    pygod_hidden: PositiveInt = 32
    pygod_batch: PositiveInt = 16
    #: A window's score is the mean over so many of its worst nodes, as the VGAE's.
    worst_nodes: PositiveInt = 3
    seed: int = 0


class TabularConfig(Config):
    """Baselines of single flows, where there are no hosts to build graphs of (or to compare with those)."""

    learned: tuple[Literal["boosted_trees", "isolation_forest"], ...] = ("boosted_trees", "isolation_forest")
    #: The last so many of each training capture's flows choose the threshold.
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    baselines: BaselinesConfig = BaselinesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
