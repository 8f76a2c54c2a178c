"""Every step gives every parameter a gradient, if only zeros: processes that train together add up all of them.

Every window has an edge: those of a single frame are left out.
"""

from __future__ import annotations

from typing import get_args

import pytest
from tiny_world import TinyWorld
from torch import nn

from candor.ids.config import GatConfig, TemporalConfig, TrainingConfig, VgaeConfig
from candor.ids.models.gat import Gat
from candor.ids.models.temporal import Temporal, TemporalTraining
from candor.ids.models.training import GatTraining, VgaeTraining
from candor.ids.models.vgae import Vgae

OPTIONS = TrainingConfig(device="cpu")
CONVS = ("gat", "gatv2", "transformer", "gps")
POOLINGS = [
    {"jumping_knowledge": k} for k in get_args(GatConfig.model_fields["jumping_knowledge"].annotation)
]


def gat(world: TinyWorld, **changes: object) -> nn.Module:
    config = GatConfig.model_validate({"hidden": 16, "layers": 2, **changes})
    return GatTraining(Gat(config, world.inputs(config.inputs)), OPTIONS, 1)


def vgae(world: TinyWorld, **changes: object) -> nn.Module:
    config = VgaeConfig.model_validate({"hidden": 16, "layers": 2, **changes})
    return VgaeTraining(Vgae(config, world.inputs(config.inputs)), OPTIONS, 1)


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        *((b, {"conv": {"kind": kind}}) for b in (gat, vgae) for kind in CONVS),
        *((gat, p) for p in POOLINGS),
        (gat, {"inputs": {"graph_id_dropout": 1.0}}),
        (vgae, {"inputs": {"graph_id_dropout": 1.0}}),
    ],
)
def test_no_parameter_is_left_out(world: TinyWorld, build, changes: dict[str, object]) -> None:
    module = build(world, **changes).train()
    batch = world.batch("train", [0, 1, 2, 3])
    module.training_step(batch, 0).backward()
    assert not [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]


def test_no_parameter_of_a_temporal_detector_is_left_out(world: TinyWorld) -> None:
    model = Temporal(TemporalConfig(windows=2, hidden=8), world.inputs())
    module = TemporalTraining(model, OPTIONS, 1).train()
    batch = world.batch("train", [0, 1, 2, 3])
    module.training_step(batch, 0).backward()
    assert not [name for name, p in module.named_parameters() if p.grad is None]
