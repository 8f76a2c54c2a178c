"""Detectors: convolutions, VGAE, GAT, fusion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from candor.config.base import Config
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


class CugraphGatConv(Config):
    """GatConv by NVIDIA's kernels (see models.cugraph): CUDA only."""

    kind: Literal["cugraph_gat"] = "cugraph_gat"
    num_heads: PositiveInt = 4


class CugraphGatv2Conv(Config):
    """Gatv2Conv by NVIDIA's kernels (see models.cugraph): CUDA only."""

    kind: Literal["cugraph_gatv2"] = "cugraph_gatv2"
    num_heads: PositiveInt = 4


def _conv_kind(value: Any) -> Any:
    """The variant's tag; ``gat.conv.num_heads=2`` alone keeps the default kind."""
    return value.get("kind", "gatv2") if isinstance(value, dict) else getattr(value, "kind", None)


ConvConfig = Annotated[
    Annotated[GatConv, Tag("gat")]
    | Annotated[Gatv2Conv, Tag("gatv2")]
    | Annotated[TransformerConv, Tag("transformer")]
    | Annotated[CugraphGatConv, Tag("cugraph_gat")]
    | Annotated[CugraphGatv2Conv, Tag("cugraph_gatv2")],
    Discriminator(
        _conv_kind,
        custom_error_type="conv_kind",
        custom_error_message="kind must be gat, gatv2, transformer, cugraph_gat or cugraph_gatv2",
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
