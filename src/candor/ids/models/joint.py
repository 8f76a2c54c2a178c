"""One classifier over several domains (a bus, a network): every domain has its own projection of features, all else is shared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from candor.ids.config import TrainingConfig
from candor.ids.models.gat import Gat
from candor.ids.models.training import Training, window_loss
from candor.learn.interleaving import DomainBatch


class JointTraining(Training):
    """The configured loss on the windows of whichever domain a batch is of.

    ``models``: by domain, made by `Gat.serving` of the first. ``attack_weights``: see `GatTraining`.
    """

    def __init__(
        self,
        models: Mapping[str, Gat],
        config: TrainingConfig,
        seed: int,
        attack_weights: Mapping[str, float],
    ) -> None:
        super().__init__(config, seed)
        self.models, self._attack_weights, self._teacher = nn.ModuleDict(models), dict(attack_weights), ()

    def training_step(self, batch: DomainBatch, batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.models[batch.domain](batch.graphs).logits_GC)
        self._record("train_loss", loss, batch.graphs)
        self._record(f"train_loss_{batch.domain}", loss, batch.graphs)
        return loss

    def validation_step(self, batch: DomainBatch, batch_idx: int) -> None:
        logits_GC = self.models[batch.domain](batch.graphs).logits_GC
        loss = self._loss(batch, logits_GC)
        self._record("val_loss", loss, batch.graphs)
        self._record(f"val_loss_{batch.domain}", loss, batch.graphs)
        right = (logits_GC.argmax(-1) == batch.graphs.y).float().mean()
        self._record(f"val_accuracy_{batch.domain}", right, batch.graphs)

    def _loss(self, batch: DomainBatch, logits_GC: Tensor) -> Tensor:
        y_G: torch.Tensor = batch.graphs.y
        return window_loss(self.config.loss, logits_GC, y_G, self._attack_weights[batch.domain])
