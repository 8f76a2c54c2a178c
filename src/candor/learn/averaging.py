"""Exponential moving average of weights: what is validated and kept, while training goes on with the weights as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor


class WeightAverage(L.Callback):
    """Averages trainable parameters after every optimizer step; the average is part of the checkpoint.

    The first steps count more (decay min(d, (1 + t) / (10 + t)), as TensorFlow's ExponentialMovingAverage does), or a
    short training would keep its random start.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._average, self._steps = dict(state_dict["average"]), int(state_dict["steps"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, parameter in _trainable(pl_module):
            known = self._average.get(name, parameter.detach())
            self._average[name] = known.to(parameter.device).clone()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._steps:  # A batch that only accumulates moves nothing.
            return
        self._steps = trainer.global_step
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, parameter in _trainable(pl_module):
            self._average[name].lerp_(parameter.detach(), 1 - decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._enter(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._leave(pl_module)

    @contextmanager
    def applied(self, pl_module: L.LightningModule) -> Iterator[None]:
        """The module with averaged weights, for as long as the block lasts."""
        self._enter(pl_module)
        try:
            yield
        finally:
            self._leave(pl_module)

    @torch.no_grad()
    def _enter(self, pl_module: L.LightningModule) -> None:
        for name, parameter in _trainable(pl_module):
            self._raw[name] = parameter.detach().clone()
            parameter.copy_(self._average[name])

    @torch.no_grad()
    def _leave(self, pl_module: L.LightningModule) -> None:
        for name, parameter in _trainable(pl_module):
            parameter.copy_(self._raw.pop(name))


def _trainable(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)
