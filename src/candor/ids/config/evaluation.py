"""Evaluation and its controls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from candor.config.base import Config
from candor.config.fields import by_kind
from candor.ids.config.types import PositiveInt, Share


class AlarmConfig(Config):
    """From flagged windows to alarms. As it stands, every flagged window alarms."""

    #: An alarm is raised when ``raise_windows`` of the last ``of_windows`` windows are flagged ...
    raise_windows: PositiveInt = 1
    of_windows: PositiveInt = 1
    #: ... and falls when no more than this many of them are. Below ``raise_windows``, or an alarm would flutter.
    fall_windows: Annotated[int, Field(ge=0)] = 0
    #: No new alarm is raised for so long after one fell.
    cooldown_s: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> AlarmConfig:
        if not self.fall_windows < self.raise_windows <= self.of_windows:
            raise ValueError("fall_windows < raise_windows <= of_windows must hold")
        return self

    @property
    def is_plain(self) -> bool:
        """Alarms are the flagged windows, and nothing more."""
        return self.of_windows == 1 and self.cooldown_s == 0


class UnionConfig(Config):
    """Detectors whose alarms are OR-ed under one false-alarm budget; validation splits it between them."""

    name: str
    #: Detector names; each is taken from the variant and seed at hand, else from the baselines.
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    #: Share of benign validation windows that may alarm while the split is chosen.
    budget: Annotated[float, Field(gt=0, lt=1)] = 0.005
    #: The budget is split in parts of one ``grid``-th.
    grid: Annotated[int, Field(ge=1, le=20)] = 8


class NoAdaptation(Config):
    """Thresholds of validation, on every vehicle."""

    kind: Literal["none"] = "none"


class CalibrationAdaptation(Config):
    """Where a capture is calibrated on its own first seconds, their scores may raise a threshold (candor.ids.adaptation)."""

    kind: Literal["calibration"] = "calibration"
    #: Above the typical highest score of the calibration seconds, in spreads of validation's benign scores (highest less median).
    margin: Annotated[float, Field(ge=0)] = 2.0
    #: Chunks that the seconds are cut into; an attack that fills fewer than half of them is outvoted.
    chunks: Annotated[int, Field(ge=3)] = 20
    #: With fewer calibration windows the threshold stays where validation put it.
    min_windows: Annotated[int, Field(ge=3)] = 40


AnyAdaptation = Annotated[
    Annotated[NoAdaptation, Tag("none")] | Annotated[CalibrationAdaptation, Tag("calibration")],
    by_kind("adaptation_kind", "none", "calibration", default="calibration"),
]


class EvaluationConfig(Config):
    """Thresholds from validation, metrics per scenario and family, events, controls."""

    #: ``max_f1``: middle of the widest score interval whose validation F1 is the best, give or take a standard error. ``max_fpr``: lowest threshold whose validation false-positive rate stays within ``fpr``.
    threshold: Literal["max_f1", "max_fpr"] = "max_f1"
    fpr: Share = 0.001
    #: Whether thresholds may be raised on vehicles that validation never saw, by their own calibration seconds.
    adaptation: AnyAdaptation = CalibrationAdaptation()
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
    #: What stands between flagged windows and the alarms of the event metrics.
    alarms: AlarmConfig = AlarmConfig()
    #: Detectors to form out of others.
    unions: tuple[UnionConfig, ...] = (
        UnionConfig(name="specialists_or", members=("novelty", "early", "payload", "absence")),
        # No member was shown an attack, so none can have learnt only those it was shown.
        UnionConfig(name="unsupervised_or", members=("vgae", "novelty", "early")),
    )
    #: (variant, variant): what the first gained against the second, with intervals. The plan adds every distilled variant
    #: beside the same model without its teacher.
    compare: tuple[tuple[str, str], ...] = ()
    #: Leave out the windows that the profile of their own stream was calibrated on. Kept in by default: the harder figure.
    exclude_calibration: bool = False
    seed: int = 0


class ControlsConfig(Config):
    """Trivial detectors in the same table: what a published figure must beat before it means anything."""

    #: A frame is early when it comes within this share of its ID's median training interval.
    early_share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class CurveConfig(Config):
    """False alarms against calibration time: every test capture calibrated on its own first seconds, of which so many."""

    calibration_s: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        5.0,
        10.0,
        30.0,
        60.0,
        120.0,
    )


class CurveTask(CurveConfig):
    """What the stage is given: the curve, and how the run judges."""

    evaluation: EvaluationConfig = EvaluationConfig()
