"""One config model per thing. Defaults live here and nowhere else; presets state differences only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config, Runtime

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


# ---------------------------------------------------------------- captures


class CaptureSource(Config):
    """One raw file and what is known of it without opening it."""

    capture: str
    path: Annotated[str, Runtime]  # Where it lies today; its content is what counts.
    sha256: str
    format: Literal["auto", "can_train_and_test", "hcrl_csv", "hcrl_txt", "candump"] = "auto"
    split: Literal["train", "test"]
    scenario: str = ""
    vehicle: str
    base_capture: str
    attack: str = ""


class IngestConfig(Config):
    """Raw files → validated frames. ``sources`` is empty when a generate task feeds it."""

    dataset: str
    sources: tuple[CaptureSource, ...] = ()
    event_gap_s: Annotated[float, Field(gt=0)] = 1.0
    #: A step back in time larger than this quarantines the row; smaller ones are kept and counted.
    max_backstep_s: Annotated[float, Field(ge=0)] = 1.0
    #: A file with a larger share of malformed rows is refused.
    max_quarantined_share: Share = 0.5
    workers: Annotated[int, Runtime] = 2


class SyntheticConfig(Config):
    """The bus simulator: vehicles, their captures and the attacks on them."""

    seed: int = 0
    vehicles: PositiveInt = 3
    ids_per_vehicle: PositiveInt = 24
    bitrate_bps: PositiveInt = 500_000
    benign_s: Annotated[float, Field(gt=0)] = 60.0
    attack_s: Annotated[float, Field(gt=0)] = 40.0


# ---------------------------------------------------------------- graphs


class WindowConfig(Config):
    window_frames: Annotated[int, Field(ge=2)] = 100
    stride_frames: PositiveInt = 100


class CalibrationConfig(Config):
    """Per-vehicle benign profile.

    ``auto``: from an attack-free training capture of that vehicle, else the first ``calibration_s`` seconds of the
    stream, without labels. ``stream``: always the latter.
    """

    source: Literal["auto", "stream"] = "auto"
    calibration_s: Annotated[float, Field(gt=0)] = 10.0


class SplitConfig(Config):
    """Train and validation by contiguous time blocks of each training capture, an embargo gap between them."""

    blocks: PositiveInt = 20
    #: Every ``validation_every``-th block, starting with ``validation_offset``, validates.
    validation_every: Annotated[int, Field(ge=2)] = 5
    validation_offset: Annotated[int, Field(ge=0)] = 2
    embargo_frames: Annotated[int, Field(ge=0)] = 200


class GraphConfig(Config):
    """Frames → window graphs, for one side of the split."""

    splits: tuple[Literal["train", "val", "test"], ...]
    window: WindowConfig = WindowConfig()
    split: SplitConfig = SplitConfig()
    #: A window is an attack window from this many attack frames on.
    min_attack_frames: PositiveInt = 1


class AuditConfig(Config):
    """The gate: findings of level error stop the run unless named in ``allow``."""

    allow: tuple[str, ...] = ()
    window: WindowConfig = WindowConfig()
    split: SplitConfig = SplitConfig()


# ---------------------------------------------------------------- evaluation


class EvaluationConfig(Config):
    """Thresholds from validation, metrics per scenario and family, events, controls."""

    #: ``max_f1``: middle of the score interval with the best validation F1. ``max_fpr``: lowest threshold whose validation false-positive rate stays within ``fpr``.
    threshold: Literal["max_f1", "max_fpr"] = "max_f1"
    fpr: Share = 0.001
    bootstrap: PositiveInt = 200
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    false_alarms_per_hour: tuple[float, ...] = (1.0, 5.0, 10.0)
    seed: int = 0
