"""Training, and the tasks that train and score."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from candor.config.base import Config, Later, Runtime
from candor.config.fields import by_kind
from candor.ids.config.models import FusionConfig, GatConfig, TemporalConfig, VgaeConfig
from candor.ids.config.types import PositiveInt, Share


class CrossEntropyLoss(Config):
    """Every window counts alike."""

    kind: Literal["cross_entropy"] = "cross_entropy"


class WeightedLoss(Config):
    """Cross-entropy in which an attack window counts ``attack_weight`` times."""

    kind: Literal["weighted"] = "weighted"
    #: None: as many times as there are benign training windows for each attack window.
    attack_weight: Annotated[float, Field(gt=0)] | None = None


class FocalLoss(Config):
    """Lin et al. 2017 (arXiv:1708.02002, eq. 5): what is right already counts less."""

    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    #: Weight of attack windows; benign ones get the rest.
    alpha: Share = 0.5


class CosineSchedule(Config):
    """Half a cosine from the learning rate down to ``floor`` times it, over all epochs."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    floor: Share = 0.05


class ConstantSchedule(Config):
    """The learning rate as it is."""

    kind: Literal["constant"] = "constant"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0


class StepSchedule(Config):
    """Times ``factor`` every ``every_epochs``."""

    kind: Literal["step"] = "step"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    every_epochs: PositiveInt = 4
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class PlateauSchedule(Config):
    """Times ``factor`` after ``patience`` epochs in which the validation loss did not fall."""

    kind: Literal["plateau"] = "plateau"
    patience: Annotated[int, Field(ge=0)] = 2
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class PackedLoader(Config):
    """Batches gathered straight from the memory maps of a GraphStore (learn.loading)."""

    kind: Literal["packed"] = "packed"


class CugraphLoader(Config):
    """The same batches sampled by cugraph-pyg out of one large graph (learn.cugraph_loading): CUDA only."""

    kind: Literal["cugraph"] = "cugraph"
    #: Where cugraph holds features: pinned host memory that the device reads, or the device's own.
    location: Literal["cpu", "cuda"] = "cpu"


LoaderConfig = Annotated[
    Annotated[PackedLoader, Tag("packed")] | Annotated[CugraphLoader, Tag("cugraph")],
    by_kind("loader_kind", "packed", "cugraph", default="packed"),
]
LossConfig = Annotated[
    Annotated[CrossEntropyLoss, Tag("cross_entropy")]
    | Annotated[WeightedLoss, Tag("weighted")]
    | Annotated[FocalLoss, Tag("focal")],
    by_kind("loss_kind", "cross_entropy", "weighted", "focal", default="cross_entropy"),
]
ScheduleConfig = Annotated[
    Annotated[CosineSchedule, Tag("cosine")]
    | Annotated[ConstantSchedule, Tag("constant")]
    | Annotated[StepSchedule, Tag("step")]
    | Annotated[PlateauSchedule, Tag("plateau")],
    by_kind("schedule_kind", "cosine", "constant", "step", "plateau", default="cosine"),
]


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
    schedule: ScheduleConfig = CosineSchedule()
    #: Of the classifier; an autoencoder has its own.
    loss: LossConfig = CrossEntropyLoss()
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    accumulate_batches: PositiveInt = 1
    #: Mixed precision is for CUDA; on a CPU training is in 32 bits whatever is asked for.
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    #: Validated and kept are weights averaged over the steps with this decay (of some 1 / (1 − decay) steps); 0: the
    #: weights as they are.
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    #: Epochs without a better validation loss before training stops; 0 never stops early.
    patience: Annotated[int, Field(ge=0)] = 6
    #: Validation losses this close are equal, and of equal epochs the latest is kept. Validation windows come from the
    #: training drives: a GAT is right on all of them after one epoch, and the least of such losses is a lottery.
    tolerance: Annotated[float, Field(ge=0)] = 1e-3
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
    #: Processes of this machine that train one model together, one for each device. A step then takes a batch of each, so
    #: this is science: as ``accumulate_batches``, it makes batches larger and steps fewer.
    devices: Annotated[PositiveInt, Later] = 1
    #: Threads of a process; 0: this machine's processors, shared out.
    threads: Annotated[int, Runtime, Field(ge=0)] = 0
    #: Who makes the batches, which are the same.
    loader: Annotated[LoaderConfig, Runtime] = PackedLoader()
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
    #: Epochs after which hardness is mined anew, by what the classifier now takes for an attack; 0: the VGAE's errors
    #: stay.
    refresh_epochs: Annotated[int, Field(ge=0)] = 0
    #: How much of the old hardness a refresh keeps, at the first epoch and at the last.
    momentum_start: Share = 0.9
    momentum_end: Share = 0.5


class DistillationConfig(Config):
    """Hinton, Vinyals, Dean 2015 (arXiv:1503.02531): softened KL for GAT and temporal, projected latents for the VGAE."""

    temperature: Annotated[float, Field(gt=0)] = 4.0
    #: Weight of the softened KL; the hard-label loss gets the rest.
    kl_weight: Share = 0.7
    #: ``cached``: a teacher of logits judges every training window once, before training, instead of in every step. The
    #: same logits, since a teacher draws nothing; they take 8 bytes a window.
    teacher_logits: Literal["live", "cached"] = "live"
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
    model: VgaeConfig | GatConfig | TemporalConfig
    #: What it is distilled from: the teacher's forward pass takes memory too.
    teacher: VgaeConfig | GatConfig | TemporalConfig | None = None
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


class TemporalTask(Config):
    """One temporal detector, trained on sequences of windows with the curriculum that a VGAE's errors give."""

    model: TemporalConfig
    training: TrainingConfig
    curriculum: CurriculumConfig = CurriculumConfig()
    distillation: DistillationConfig | None = None
    seed: int


class JointTask(Config):
    """One classifier over several domains: a projection of features for each, all else shared."""

    model: GatConfig
    training: TrainingConfig
    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    seed: int


class JointScoreTask(Config):
    """Score one domain's validation and test windows."""

    variant: str
    domain: str
    seed: int
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
    threads: Annotated[int, Runtime, Field(ge=0)] = 0


class ScoreTask(Config):
    """Score the validation and test windows with all detectors of one variant and seed."""

    variant: str
    seed: int
    #: Nodes of each window whose VGAE errors are kept, the oddest first.
    worst_nodes: PositiveInt = 3
    max_nodes: Annotated[int, Runtime] = 16384
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
    threads: Annotated[int, Runtime, Field(ge=0)] = 0
