"""Learning rates over epochs, as factors of the configured one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch


class Schedule(Protocol):
    """One of the schedules of a training config; each kind has the fields it needs."""

    @property
    def kind(self) -> Literal["cosine", "constant", "step", "plateau"]: ...


def factor(schedule: Any, epochs: int) -> Callable[[int], float]:
    """Epoch → factor, for every kind but ``plateau``. A warm-up rises evenly to 1 and the rest follows behind it."""
    warmup = schedule.warmup_epochs

    def at(epoch: int) -> float:
        if epoch < warmup:
            return float((epoch + 1) / (warmup + 1))
        done, left = epoch - warmup, max(epochs - warmup, 1)
        match schedule.kind:
            case "cosine":
                return float(
                    schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done / left))
                )
            case "step":
                return float(schedule.factor ** (done // schedule.every_epochs))
            case _:
                return 1.0

    return at


def attach(optimizer: torch.optim.Optimizer, schedule: Schedule, epochs: int, *, monitor: str) -> Any:
    """Lightning's answer of ``configure_optimizers``: the optimizer with its schedule, once an epoch."""
    given: Any = schedule
    if schedule.kind != "plateau":
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, factor(given, epochs))]
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=given.factor, patience=given.patience
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": plateau, "monitor": monitor, "strict": False},
    }
