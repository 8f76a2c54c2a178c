"""One config model per thing. Defaults live here and nowhere else; presets state differences only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from candor.config.base import Config, Runtime
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.report.config import ReportConfig as ReportConfig

PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


# ---------------------------------------------------------------- captures


class AttackInterval(Config):
    """One contiguous attack, in seconds since the capture's first frame."""

    attack: str
    t_start: float
    t_end: float


#: "auto" is told by content; the others are the names of captures.formats.FORMATS.
CaptureFormat: TypeAlias = Literal[
    "auto",
    "can_train_and_test",
    "hcrl_csv",
    "hcrl_txt",
    "candump",
    "candump_labelled",
    "candump_screen",
    "asc",
    "blf",
    "trc",
    "peak_csv",
    "mf4",
    "gvret",
    "usbcan",
    "crysys",
    "canedge_csv",
    "pcap",
    "road",
    "ciciov2024",
    "j1939",
]


class CaptureSource(Config):
    """One raw file and what is known of it without opening it."""

    #: Names files and table rows: letters, digits, ``.``, ``_``, ``-``.
    capture: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    path: Annotated[str, Runtime]  # Where it lies today; its content is what counts.
    sha256: str
    format: CaptureFormat = "auto"
    split: Literal["train", "test"]
    scenario: str = ""
    vehicle: str
    base_capture: str
    attack: str = ""
    #: What a format without labels means: ``benign`` where the publisher says the recording is attack-free.
    unlabelled_as: Literal["unknown", "benign"] = "unknown"
    #: Attack intervals known from elsewhere (an attack that removes frames labels none); None: from frame labels.
    events: tuple[AttackInterval, ...] | None = None


class IngestConfig(Config):
    """Raw files → validated frames. ``sources`` is empty when a generate task feeds it."""

    dataset: str
    sources: tuple[CaptureSource, ...] = ()
    #: Attack frames closer than this belong to one event.
    event_gap_s: Annotated[float, Field(gt=0)] = 1.0
    #: A step back in time larger than this quarantines the row; smaller ones are kept and counted.
    max_backstep_s: Annotated[float, Field(ge=0)] = 1.0
    #: A file with a larger share of malformed rows is refused.
    max_quarantined_share: Share = 0.5
    workers: Annotated[PositiveInt, Runtime] = 2


def _ingest_kind(value: Any) -> Any:
    """Flows if the config says so: configs of bus captures, and so all keys made from them, stay as they were."""
    if isinstance(value, dict):
        return value.get("domain", "can")
    return "flow" if isinstance(value, FlowIngestConfig) else "can"


AnyIngest = Annotated[
    Annotated[IngestConfig, Tag("can")] | Annotated[FlowIngestConfig, Tag("flow")],
    Discriminator(
        _ingest_kind, custom_error_type="ingest_kind", custom_error_message="domain must be flow, or left out"
    ),
]


class SyntheticConfig(Config):
    """The bus simulator: vehicles, their captures and the attacks on them."""

    seed: int = 0
    #: The last of several is unknown: it occurs in tests only.
    vehicles: PositiveInt = 3
    ids_per_vehicle: Annotated[int, Field(ge=10, le=200)] = 24
    bitrate_bps: Annotated[int, Field(ge=250_000)] = 500_000
    #: Length of an attack-free capture.
    benign_s: Annotated[float, Field(ge=2)] = 60.0
    #: Length of a capture with attacks, which start after 12 s.
    attack_s: Annotated[float, Field(ge=15)] = 32.0


# ---------------------------------------------------------------- graphs


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
    #: Blocks of windows built at once; 0: one per processor.
    threads: Annotated[int, Runtime, Field(ge=0)] = 0


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


# ---------------------------------------------------------------- evaluation


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


# ---------------------------------------------------------------- models


class _AttentionConv(Config):
    num_heads: PositiveInt = 4
    dropout: Share = 0.0


class GatConv(_AttentionConv):
    """Veličković et al. 2018 (arXiv:1710.10903), attention over edge features too."""

    kind: Literal["gat"] = "gat"


class Gatv2Conv(_AttentionConv):
    """Brody, Alon, Yahav 2022 (arXiv:2105.14491): dynamic attention."""

    kind: Literal["gatv2"] = "gatv2"


class TransformerConv(_AttentionConv):
    """Shi et al. 2021 (arXiv:2009.03509): dot-product attention with edge features in keys and values."""

    kind: Literal["transformer"] = "transformer"


def _conv_kind(value: Any) -> Any:
    """The variant's tag; ``gat.conv.num_heads=2`` alone keeps the default kind."""
    return value.get("kind", "gatv2") if isinstance(value, dict) else getattr(value, "kind", None)


ConvConfig = Annotated[
    Annotated[GatConv, Tag("gat")]
    | Annotated[Gatv2Conv, Tag("gatv2")]
    | Annotated[TransformerConv, Tag("transformer")],
    Discriminator(
        _conv_kind,
        custom_error_type="conv_kind",
        custom_error_message="kind must be gat, gatv2 or transformer",
    ),
]
Pooling = Literal["mean", "max", "min", "sum", "std", "softmax"]


class NodeInputConfig(Config):
    """How arbitration IDs and raw features enter a model (DESIGN: two views of an ID)."""

    id_embedding: PositiveInt = 16
    #: Share of training graphs that are shown as if their vehicle were unknown: every ID becomes the unknown slot.
    graph_id_dropout: Share = 0.5
    #: Share of nodes in the other graphs whose ID is hidden, which trains the unknown slot beside known IDs.
    node_id_dropout: Share = 0.02
    #: A graph with a smaller share of known IDs is of an unknown vehicle: chance collisions of IDs are ignored.
    min_known_share: Share = 0.5
    #: Scaled features are clipped here; attacks lie tens of benign standard deviations out.
    clip: Annotated[float, Field(gt=0)] = 8.0


class VgaeConfig(Config):
    """Variational graph autoencoder (Kipf & Welling 2016, arXiv:1611.07308), benign windows only."""

    hidden: PositiveInt = 64
    layers: PositiveInt = 2
    latent: PositiveInt = 16
    conv: ConvConfig = Gatv2Conv()
    inputs: NodeInputConfig = NodeInputConfig()
    dropout: Share = 0.0
    kl_weight: Annotated[float, Field(ge=0)] = 0.005
    id_weight: Annotated[float, Field(ge=0)] = 0.1
    neighbourhood_weight: Annotated[float, Field(ge=0)] = 0.1
    #: A graph's feature error is the mean over its worst nodes: one forged ID among forty must not be averaged away.
    worst_nodes: PositiveInt = 3
    #: Weights of the feature, ID and neighbourhood errors (robust z-scores) in the anomaly score. Only the features
    #: mean the same on a vehicle never seen, so the other two inform the fusion state but not the score.
    score_weights: tuple[float, float, float] = (1.0, 0.0, 0.0)


class GatConfig(Config):
    """Graph attention classifier with jumping knowledge (Xu et al. 2018, arXiv:1806.03536)."""

    hidden: PositiveInt = 64
    layers: PositiveInt = 3
    conv: ConvConfig = Gatv2Conv()
    inputs: NodeInputConfig = NodeInputConfig()
    jumping_knowledge: Literal["cat", "max", "lstm", "last"] = "cat"
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = ("mean", "max")
    dropout: Share = 0.1


class DqnConfig(Config):
    """Deep Q-network (Mnih et al. 2015) that picks the fusion weight of a window from its 15-D state."""

    kind: Literal["dqn"] = "dqn"
    num_weights: Annotated[int, Field(ge=2)] = 21
    hidden: PositiveInt = 64
    layers: PositiveInt = 2
    episodes: PositiveInt = 40
    steps_per_episode: PositiveInt = 20
    batch_size: PositiveInt = 256
    replay_capacity: PositiveInt = 20_000
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epsilon_start: Share = 1.0
    epsilon_end: Share = 0.05
    target_update_steps: PositiveInt = 50
    #: Missing an attack costs this many times a false alarm.
    miss_cost: Annotated[float, Field(gt=0)] = 1.0
    #: Share of training attack windows shown with the GAT's view of a benign window, as if the supervised model had
    #: never seen that attack: the policy learns that the unsupervised view may raise an alarm alone.
    unseen_attack_rate: Share = 0.3
    #: Share of the benign training windows, shown as an unknown vehicle's, that get the GAT's view of an attack: a
    #: classifier may alarm on a vehicle it never saw, and the policy learns to ask the VGAE there.
    unfamiliar_alarm_rate: Share = 0.3
    #: The VGAE's probability is 0.5 this many times as far from the benign median as the benign 99.9 % quantile of
    #: validation, which is cut from the training drives: another drive of the same vehicle looks stranger. Training
    #: drives of hcrl_sa that were left out of training reach 1 to 3.5 times that distance, their attacks 3 to 4.5 times.
    anomaly_margin: Annotated[float, Field(ge=1)] = 2.5


FusionConfig = DqnConfig


# ---------------------------------------------------------------- training


class TrainingConfig(Config):
    max_epochs: PositiveInt = 12
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


# ---------------------------------------------------------------- the experiment


class VariantConfig(Config):
    """One line of models through the pipeline: a VGAE, a GAT and a fusion policy of one scale."""

    #: Model preset, ``presets/models/<scale>.yaml``.
    scale: str
    #: Name of the variant it is distilled from; none: it learns alone.
    teacher: str | None = None
    vgae: VgaeConfig = VgaeConfig()
    gat: GatConfig = GatConfig()
    fusion: FusionConfig = DqnConfig()
    training: TrainingConfig = TrainingConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    distillation: DistillationConfig = DistillationConfig()


class ExperimentConfig(Config):
    """Everything a run computes, resolved. The parts of ``variants.NAME`` may also be set for all variants at once:
    ``--set gat.hidden=32`` means ``variants.*.gat.hidden``."""

    experiment: str
    dataset: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    synthetic: SyntheticConfig | None = None
    ingest: AnyIngest
    calibration: CalibrationConfig = CalibrationConfig()
    #: Windows of seconds are for flows: audit and controls of a bus compare windows of equal length.
    window: Window = WindowConfig()
    split: SplitConfig = SplitConfig()
    min_attack_frames: PositiveInt = 1
    #: See GraphConfig.
    profiles: Annotated[tuple[Literal["auto", "stream"], ...], Field(min_length=1)] = ("auto",)
    audit_allow: tuple[str, ...] = ()
    audit: AuditLimits = AuditLimits()
    #: Other places of the dataset's recordings, as its preset knows them.
    elsewhere: tuple[FiledElsewhere, ...] = ()
    profile: ProfileConfig = ProfileConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    variants: Annotated[dict[str, VariantConfig], Field(min_length=1)]
