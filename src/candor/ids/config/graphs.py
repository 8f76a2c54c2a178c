"""Graphs: windows, splits, calibration, the audit and the profile of a store."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from candor.config.base import Config, Runtime
from candor.ids.config.types import PositiveInt, Share


class WindowConfig(Config):
    """``window_frames`` consecutive frames of one capture, every ``stride_frames``."""

    window_frames: Annotated[int, Field(ge=2)] = 100
    stride_frames: PositiveInt = 100


class TimeWindowConfig(Config):
    """The frames of ``window_s`` seconds of one capture, every ``stride_s`` seconds; how many they are varies."""

    window_s: Annotated[float, Field(gt=0)]
    stride_s: Annotated[float, Field(gt=0)]


def window_kind(value: Any) -> Any:
    """Frames unless seconds are named: configs of count windows, and so all keys made from them, stay as they were."""
    if isinstance(value, dict):
        return "time" if "window_s" in value or "stride_s" in value else "frames"
    return "time" if isinstance(value, TimeWindowConfig) else "frames"


Window = Annotated[
    Annotated[WindowConfig, Tag("frames")] | Annotated[TimeWindowConfig, Tag("time")],
    Discriminator(window_kind),
]


class SplitConfig(Config):
    """Train and validation by contiguous time blocks of each training capture, an embargo gap between them."""

    blocks: PositiveInt = 20
    #: Every ``validation_every``-th block, starting with ``validation_offset``, validates.
    validation_every: Annotated[int, Field(ge=2)] = 5
    validation_offset: Annotated[int, Field(ge=0)] = 2
    #: Frames dropped, from the training side, on each side of a validation block.
    embargo_frames: Annotated[int, Field(ge=0)] = 200


class CalibrationConfig(Config):
    """Per-vehicle benign profile.

    ``auto``: from the training side of the attack-free training captures of that vehicle, else the first
    ``calibration_s`` seconds of the stream, without labels. ``stream``: always the latter.
    """

    source: Literal["auto", "stream"] = "auto"
    calibration_s: Annotated[float, Field(gt=0)] = 10.0
    #: Leave out of the first seconds of a stream what looks unlike the rest of them: an attack may have begun already.
    robust: bool = True


class CalibrationTask(CalibrationConfig):
    """What the calibrate stage is given."""

    #: Must be the split of the graphs that use the profile, or validation windows see their own statistics.
    split: SplitConfig = SplitConfig()


class GraphConfig(Config):
    """Frames → window graphs, for one side of the split."""

    splits: tuple[Literal["train", "val", "test"], ...]
    window: Window = WindowConfig()
    split: SplitConfig = SplitConfig()
    #: A window is an attack window from this many attack frames on.
    min_attack_frames: PositiveInt = 1
    #: Profiles the features are relative to. Training windows are built once per profile (augmentation against
    #: calibration noise); validation and test use the first only.
    profiles: Annotated[tuple[Literal["auto", "stream"], ...], Field(min_length=1)] = ("auto",)
    #: Threads of a process, over captures if it builds several at once, and over blocks of windows; 0: one per processor.
    threads: Annotated[int, Runtime, Field(ge=0)] = 0
    #: Captures built at once, each in a process of its own where that pays; memory holds so many.
    workers: Annotated[PositiveInt, Runtime] = 4


class FiledElsewhere(Config):
    """Another place where the publisher filed the recording of a capture.

    Attributes:
        dataset: whose layout; this dataset's own for a copy beside the file that is used.
        place: file below that dataset's folder, without suffix.
        path: the file on this machine, "" if it is not here. sha256: its content, or "".
    """

    capture: str
    dataset: str
    place: str
    path: Annotated[str, Runtime] = ""
    sha256: str = ""

    @property
    def place_name(self) -> str:
        return f"{self.dataset}/{self.place}"


class AuditLimits(Config):
    """Where the audit draws its lines."""

    #: Share of test windows with a twin in training from which it is an error, below it a warning.
    max_duplicate_windows: Share = 0.01
    #: Consecutive benign frames (ID, DLC, payload) that count as one run when captures are compared.
    run_frames: Annotated[int, Field(ge=2)] = 16
    #: Share of a capture's runs held by a capture of the other split from which it is an error, below it a warning.
    max_shared_runs: Share = 0.01
    #: Part of the hash space that is compared: 1 compares every run, 8 needs an eighth of the memory.
    keep_one_in: PositiveInt = 4
    #: AUROC of a shortcut (time step, file order, ID or payload alone) from which it is a finding.
    max_shortcut_auroc: Annotated[float, Field(gt=0.5, le=1)] = 0.9


class AuditConfig(AuditLimits):
    """The gate: findings of level error stop the run unless named in ``allow``."""

    allow: tuple[str, ...] = ()
    window: WindowConfig = WindowConfig()
    split: SplitConfig = SplitConfig()
    elsewhere: tuple[FiledElsewhere, ...] = ()


class ProfileConfig(Config):
    """Sizes of graphs and what they mean for batching."""

    #: Coefficient of variation up to which sizes count as alike.
    alike_cv: Annotated[float, Field(gt=0)] = 0.1
    #: Bars of a histogram.
    bins: Annotated[int, Field(ge=4, le=100)] = 24


class FlowAuditConfig(Config):
    """The gate of flow data sets, see AuditConfig."""

    allow: tuple[str, ...] = ()
    window: Window = WindowConfig()
    split: SplitConfig = SplitConfig()
    #: Share of test flows whose measures all occur in one training flow too, from which it is worth a warning.
    max_repeated_flows: Share = 0.5
    #: Share of a test capture's flows that lie in training, times and ports included, from which it is an error.
    max_shared_flows: Share = 0.01
