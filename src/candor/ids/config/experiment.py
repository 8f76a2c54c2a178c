"""The experiment: everything a run computes, resolved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config, Runtime
from candor.ids.config.baselines import BaselinesConfig, SpecialistsConfig
from candor.ids.config.captures import AnyIngest, SyntheticConfig
from candor.ids.config.evaluation import ControlsConfig, CurveConfig, EvaluationConfig
from candor.ids.config.graphs import (
    AuditLimits,
    CalibrationConfig,
    FiledElsewhere,
    ProfileConfig,
    SplitConfig,
    Window,
    WindowConfig,
)
from candor.ids.config.models import (
    DqnConfig,
    FrameDynamicsConfig,
    FusionConfig,
    GatConfig,
    PayloadConfig,
    TemporalConfig,
    VgaeConfig,
)
from candor.ids.config.training import CurriculumConfig, DistillationConfig, TrainingConfig
from candor.ids.config.types import PositiveInt
from candor.report.config import SHOWN, ShownMetric


class VariantConfig(Config):
    """One line of models through the pipeline: a VGAE, a GAT and a fusion policy of one scale."""

    #: Model preset, ``presets/models/<scale>.yaml``.
    scale: str
    #: Name of the variant it is distilled from; none: it learns alone.
    teacher: str | None = None
    vgae: VgaeConfig = VgaeConfig()
    gat: GatConfig = GatConfig()
    fusion: FusionConfig = DqnConfig()
    #: A detector more, over sequences of windows: ``--set temporal.windows=8``.
    temporal: TemporalConfig | None = None
    training: TrainingConfig = TrainingConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    distillation: DistillationConfig = DistillationConfig()


class ExperimentConfig(Config):
    """Everything a run computes, resolved. The parts of ``variants.NAME`` may also be set for all variants at once:
    ``--set gat.hidden=32`` means ``variants.*.gat.hidden``."""

    experiment: str
    dataset: str
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (1,)
    synthetic: SyntheticConfig | None = None
    ingest: AnyIngest
    calibration: CalibrationConfig = CalibrationConfig()
    #: Windows of seconds are for flows: audit and controls of a bus compare windows of equal length.
    window: Window = WindowConfig()
    split: SplitConfig = SplitConfig()
    min_attack_frames: PositiveInt = 1
    #: See GraphConfig.
    profiles: Annotated[tuple[Literal["auto", "stream"], ...], Field(min_length=1)] = ("auto",)
    #: See GraphConfig.workers; ``ingest.workers`` is its like for raw files.
    build_workers: Annotated[PositiveInt, Runtime] = 4
    audit_allow: tuple[str, ...] = ()
    audit: AuditLimits = AuditLimits()
    #: Other places of the dataset's recordings, as its preset knows them.
    elsewhere: tuple[FiledElsewhere, ...] = ()
    profile: ProfileConfig = ProfileConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    #: Ask for it with ``--set calibration_curve={}``: it builds and scores the test graphs once per point.
    calibration_curve: CurveConfig | None = None
    controls: ControlsConfig = ControlsConfig()
    specialists: SpecialistsConfig = SpecialistsConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    #: Window metrics of the printed table: ``--set table=[f1,auc_pr,fpr]``. The page has all of them.
    table: Annotated[tuple[ShownMetric, ...], Field(min_length=1)] = SHOWN
    #: A detector more, on a bus: ``--set payload.calibration_s=10``.
    payload: PayloadConfig | None = None
    #: A detector more, on a bus: ``--set frame_dynamics.calibration_s=10``.
    frame_dynamics: FrameDynamicsConfig | None = None
    variants: Annotated[dict[str, VariantConfig], Field(min_length=1)]


class JointConfig(Config):
    """One classifier over several data sets: the experiment of each, resolved, and the variant whose classifier it is."""

    variant: str
    experiments: dict[str, ExperimentConfig]
