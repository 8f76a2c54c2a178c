"""Evaluation and its controls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config
from candor.ids.config.types import PositiveInt, Share


class EvaluationConfig(Config):
    """Thresholds from validation, metrics per scenario and family, events, controls."""

    #: ``max_f1``: middle of the score interval with the best validation F1. ``max_fpr``: lowest threshold whose validation false-positive rate stays within ``fpr``.
    threshold: Literal["max_f1", "max_fpr"] = "max_f1"
    fpr: Share = 0.001
    bootstrap: PositiveInt = 200
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    #: Neighbouring windows are alike: the bootstrap draws runs of this many windows of one class, never single ones.
    block_windows: PositiveInt = 20
    false_alarms_per_hour: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        1.0,
        5.0,
        10.0,
    )
    #: An alarm that stays on is raised again every so many seconds, or a detector that never falls silent would
    #: count as one false alarm.
    alarm_s: Annotated[float, Field(gt=0)] = 10.0
    #: Leave out the windows that the profile of their own stream was calibrated on. Kept in by default: the harder figure.
    exclude_calibration: bool = False
    seed: int = 0


class ControlsConfig(Config):
    """Trivial detectors in the same table: what a published figure must beat before it means anything."""

    #: A frame is early when it comes within this share of its ID's median training interval.
    early_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
