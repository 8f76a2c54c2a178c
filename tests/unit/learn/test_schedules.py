import math

import pytest
import torch
from pydantic import TypeAdapter

from candor.ids.config import ScheduleConfig, TrainingConfig
from candor.learn.schedules import attach, factor


def config(**fields: object) -> ScheduleConfig:
    return TypeAdapter(ScheduleConfig).validate_python(fields)


def curve(epochs: int, **fields: object) -> list[float]:
    at = factor(config(**fields), epochs)
    return [at(epoch) for epoch in range(epochs)]


def test_the_default_is_half_a_cosine_down_to_a_twentieth():
    assert TrainingConfig().schedule.kind == "cosine"
    expected = [0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * e / 10)) for e in range(10)]
    assert curve(10) == expected


def test_each_kind_has_its_curve():
    assert curve(4, kind="constant") == [1, 1, 1, 1]
    assert curve(6, kind="step", every_epochs=2, factor=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("kind", ["cosine", "constant", "step"])
def test_a_warm_up_rises_to_the_whole_rate_and_then_the_rest_follows(kind: str):
    warm = curve(8, kind=kind, warmup_epochs=3)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert warm[3:] == curve(5, kind=kind)


def test_a_plateau_lowers_the_rate_when_the_loss_stays():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    told = attach(optimizer, config(kind="plateau", patience=1, factor=0.5), 9, monitor="val_loss")
    assert told["lr_scheduler"]["monitor"] == "val_loss"
    for loss in (1.0, 0.5, 0.5, 0.5, 0.5):
        told["lr_scheduler"]["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == 0.5
