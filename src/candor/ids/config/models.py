"""Detectors: convolutions, VGAE, GAT, fusion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from candor.config.base import Config
from candor.config.fields import by_kind
from candor.ids.config.types import PositiveInt, Share


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


class GpsConv(_AttentionConv):
    """Rampášek et al. 2022 (arXiv:2205.12454): GINE over the edges beside attention between all nodes of a window."""

    kind: Literal["gps"] = "gps"


class CugraphGatConv(Config):
    """GatConv by NVIDIA's kernels (see models.cugraph): CUDA only."""

    kind: Literal["cugraph_gat"] = "cugraph_gat"
    num_heads: PositiveInt = 4


class CugraphGatv2Conv(Config):
    """Gatv2Conv by NVIDIA's kernels (see models.cugraph): CUDA only."""

    kind: Literal["cugraph_gatv2"] = "cugraph_gatv2"
    num_heads: PositiveInt = 4


ConvConfig = Annotated[
    Annotated[GatConv, Tag("gat")]
    | Annotated[Gatv2Conv, Tag("gatv2")]
    | Annotated[TransformerConv, Tag("transformer")]
    | Annotated[GpsConv, Tag("gps")]
    | Annotated[CugraphGatConv, Tag("cugraph_gat")]
    | Annotated[CugraphGatv2Conv, Tag("cugraph_gatv2")],
    by_kind(
        "conv_kind", "gat", "gatv2", "transformer", "gps", "cugraph_gat", "cugraph_gatv2", default="gatv2"
    ),
]
Pooling = Literal["mean", "max", "min", "sum", "std", "softmax"]
#: ``layer``: each node by itself. ``graph``: Cai et al. 2021 (arXiv:2009.03294), over the nodes of each window.
Norm = Literal["layer", "graph"]


class LookupIds(Config):
    """One learned vector for each ID of the vocabulary, and one for unknown IDs."""

    kind: Literal["lookup"] = "lookup"
    width: PositiveInt = 16


class HashIds(Config):
    """Svenstrup, Hansen, Winther 2017 (arXiv:1709.03933): each ID is the weighted sum of ``probes`` shared vectors.

    An ID that was never seen has a vector too; IDs of a vehicle taken for unknown share the unknown one.
    """

    kind: Literal["hash"] = "hash"
    width: PositiveInt = 16
    #: Vectors that IDs share, and probes into them: two IDs are alike only if all probes collide.
    buckets: Annotated[int, Field(ge=2)] = 256
    probes: PositiveInt = 2


class NoIds(Config):
    """IDs are not told apart by name, only by what they do."""

    kind: Literal["none"] = "none"


IdEncoding = Annotated[
    Annotated[LookupIds, Tag("lookup")] | Annotated[HashIds, Tag("hash")] | Annotated[NoIds, Tag("none")],
    by_kind("ids_kind", "lookup", "hash", "none", default="lookup"),
]


class NodeInputConfig(Config):
    """How arbitration IDs and raw features enter a model (DESIGN: two views of an ID)."""

    ids: IdEncoding = LookupIds()
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
    norm: Norm = "layer"
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
    norm: Norm = "layer"
    dropout: Share = 0.1


class TemporalConfig(Config):
    """Attention over the states of a GRU-GCN (A3T-GCN, Bai et al. 2021, arXiv:2006.11583) of consecutive windows."""

    #: Windows of a sequence; the last one is judged.
    windows: Annotated[int, Field(ge=2)] = 8
    hidden: PositiveInt = 32
    inputs: NodeInputConfig = NodeInputConfig()
    dropout: Share = 0.1


class _Fusion(Config):
    """What every fusion policy is told."""

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


class _LearnedFusion(_Fusion):
    episodes: PositiveInt = 40
    steps_per_episode: PositiveInt = 20
    batch_size: PositiveInt = 256
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3


class DqnConfig(_LearnedFusion):
    """Deep Q-network (Mnih et al. 2015) that picks the fusion weight of a window from its 15-D state."""

    kind: Literal["dqn"] = "dqn"
    num_weights: Annotated[int, Field(ge=2)] = 21
    hidden: PositiveInt = 64
    layers: PositiveInt = 2
    replay_capacity: PositiveInt = 20_000
    discount: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epsilon_start: Share = 1.0
    epsilon_end: Share = 0.05
    target_update_steps: PositiveInt = 50


class LinUcbConfig(_LearnedFusion):
    """Neural-LinUCB bandit (Xu et al. 2022, arXiv:2012.01780) over the same weights."""

    kind: Literal["linucb"] = "linucb"
    num_weights: Annotated[int, Field(ge=2)] = 21
    #: Width of the learned features; each weight keeps a matrix of its square.
    hidden: PositiveInt = 32
    layers: PositiveInt = 2
    replay_capacity: PositiveInt = 20_000
    #: Width of the confidence bound by which weights are tried. At 0.3 the bandit stays with the first weight, which
    #: is the VGAE alone; at 2 it still tries them in turn when training ends.
    exploration: Annotated[float, Field(ge=0)] = 1.0
    ridge: Annotated[float, Field(gt=0)] = 1.0
    #: Steps between trainings of the features, and gradient steps of each.
    refit_steps: PositiveInt = 20
    refit_updates: PositiveInt = 20


class MlpConfig(_LearnedFusion):
    """A network from the state to the weight, by gradient."""

    kind: Literal["mlp"] = "mlp"
    hidden: PositiveInt = 64
    layers: PositiveInt = 2


class AverageConfig(_LearnedFusion):
    """One learned weight for all windows."""

    kind: Literal["average"] = "average"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2


class OrConfig(_Fusion):
    """The larger of both probabilities; nothing is learned."""

    kind: Literal["or"] = "or"


FusionConfig = Annotated[
    Annotated[DqnConfig, Tag("dqn")]
    | Annotated[LinUcbConfig, Tag("linucb")]
    | Annotated[MlpConfig, Tag("mlp")]
    | Annotated[AverageConfig, Tag("average")]
    | Annotated[OrConfig, Tag("or")],
    by_kind("fusion_kind", "dqn", "linucb", "mlp", "average", "or", default="dqn"),
]


class PayloadConfig(Config):
    """Payload dynamics: a label-free detector of bytes that do not follow from what their ID sent before."""

    #: Each capture is judged by its own first seconds, without labels, as a live detector would be.
    calibration_s: Annotated[float, Field(gt=0)] = 10.0
    #: ``stream``: those seconds alone. ``vehicle``: on top of the benign training frames of the same vehicle, where there
    #: are any. On the training capture of road_statgraph the last ten seconds told more than the forty before them.
    source: Literal["stream", "vehicle"] = "stream"
    #: Frames of an ID that the training vehicles' experience with bytes of its behaviour counts for.
    prior_frames: Annotated[float, Field(gt=0)] = 50.0


class FrameDynamicsConfig(Config):
    """Frame dynamics: payload dynamics and, as one view more, whether a frame stands where its ID should."""

    #: Each capture is judged by its own first seconds, without labels, as a live detector would be.
    calibration_s: Annotated[float, Field(gt=0)] = 10.0
    #: Frames of an ID that the experience with other bytes and IDs counts for.
    prior_frames: Annotated[float, Field(gt=0)] = 50.0
    #: IDs of a sequence. On three cars that were not road_statgraph's three told more than two, four hardly more than three.
    ngram_order: Annotated[int, Field(ge=2, le=5)] = 3
    #: Added to every count of a sequence.
    smoothing: Annotated[float, Field(gt=0)] = 0.1
    #: On a vehicle with benign training captures: how much what its frames cost there counts, the rest being what the capture's
    #: own calibration seconds cost. 0: every vehicle is taken for unknown.
    vehicle_share: Share = 0.5
