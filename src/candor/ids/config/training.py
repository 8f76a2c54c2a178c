"""Training, and the tasks that train and score."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config, Runtime
from candor.ids.config.models import FusionConfig, GatConfig, VgaeConfig
from candor.ids.config.types import PositiveInt, Share


class BudgetConfig(Config):
    """How the largest batch that fits in memory is sought (see ``candor budget``)."""

    #: Memory a step may take; none: on CPU a share of what is free and of the job's limit, on CUDA the whole device.
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    #: Share of the largest budget that fitted which is used.
    safety: Annotated[float, Field(gt=0, le=1)] = 0.9
    #: The search ends when the least budget that did not fit is this much above the largest that did.
    tolerance: Annotated[float, Field(gt=0)] = 0.05


class TrainingConfig(Config):
    max_epochs: PositiveInt = 12
    #: ``fixed``: ``max_nodes`` and ``max_edges``. ``auto``: the budget task finds them; ``device`` must be named then,
    #: since what fits is cached for one type of device. ``min_steps_per_epoch`` holds for either.
    batch_budget: Literal["fixed", "auto"] = "fixed"
    budget: BudgetConfig = BudgetConfig()
    #: Node and edge budget of a batch.
    max_nodes: PositiveInt = 4096
    max_edges: PositiveInt = 16384
    #: The budget is lowered until an epoch has so many steps: one that holds the data set twice over trains badly.
    min_steps_per_epoch: PositiveInt = 1
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    accumulate_batches: PositiveInt = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    #: Epochs without a better validation loss before training stops; 0 never stops early.
    patience: Annotated[int, Field(ge=0)] = 6
    #: Validation losses this close are equal, and of equal epochs the latest is kept. Validation windows come from the
    #: training drives: a GAT is right on all of them after one epoch, and the least of such losses is a lottery.
    tolerance: Annotated[float, Field(ge=0)] = 1e-3
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
    threads: Annotated[int, Runtime, Field(ge=0)] = 0
    #: Leave a Chrome trace and a table of where the time of a step goes (``candor run --profile``).
    profile: Annotated[bool, Runtime] = False


class CurriculumConfig(Config):
    """Benign windows shown to the GAT: from balanced to natural, the hard ones (by VGAE error) more often."""

    #: Benign windows for each attack window in the first epoch.
    start_ratio: Annotated[float, Field(gt=0)] = 1.0
    #: Share of the epochs after which the natural ratio is reached.
    ramp: Share = 0.6
    #: Share of an epoch's benign windows drawn by VGAE error rather than uniformly.
    hard_share: Share = 0.5


class DistillationConfig(Config):
    """Hinton, Vinyals, Dean 2015 (arXiv:1503.02531): softened KL for the GAT, projected latents for the VGAE."""

    temperature: Annotated[float, Field(gt=0)] = 4.0
    #: Weight of the softened KL; the hard-label loss gets the rest.
    kl_weight: Share = 0.7
    latent_weight: Annotated[float, Field(ge=0)] = 0.5
    reconstruction_weight: Annotated[float, Field(ge=0)] = 0.5


class AutoencoderTask(Config):
    """One VGAE, trained on benign windows."""

    model: VgaeConfig
    training: TrainingConfig
    distillation: DistillationConfig | None = None
    seed: int


class CurriculumTask(Config):
    """One GAT, trained with the curriculum that a VGAE's errors give."""

    model: GatConfig
    training: TrainingConfig
    curriculum: CurriculumConfig
    distillation: DistillationConfig | None = None
    seed: int


class BudgetTask(Config):
    """The batch budget of one model of one scale, at one precision, on one type of device."""

    scale: str
    model: VgaeConfig | GatConfig
    #: What it is distilled from: the teacher's forward pass takes memory too.
    teacher: VgaeConfig | GatConfig | None = None
    distillation: DistillationConfig | None = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]
    device: Literal["cpu", "cuda"]
    search: BudgetConfig = BudgetConfig()
    threads: Annotated[int, Runtime, Field(ge=0)] = 0


class FusionTask(Config):
    """One fusion policy over the states of a VGAE and a GAT."""

    model: FusionConfig
    training: TrainingConfig
    seed: int


class ScoreTask(Config):
    """Score the validation and test windows with all detectors of one variant and seed."""

    variant: str
    seed: int
    max_nodes: Annotated[int, Runtime] = 16384
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
    threads: Annotated[int, Runtime, Field(ge=0)] = 0
