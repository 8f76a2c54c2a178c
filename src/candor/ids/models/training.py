"""How the VGAE and the GAT learn, alone or from a teacher (Lightning modules)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.ids.config import DistillationConfig, TrainingConfig
from candor.ids.models.gat import Gat
from candor.ids.models.vgae import Vgae
from candor.learn.batching import GraphBatch
from candor.learn.distillation import LatentProjection, softened_kl
from candor.learn.fit import SeededModule, freeze


@dataclass(frozen=True)
class VgaeTeacher:
    """A frozen teacher and what the student takes from it."""

    model: Vgae
    config: DistillationConfig


@dataclass(frozen=True)
class GatTeacher:
    """A frozen teacher and what the student takes from it."""

    model: Gat
    config: DistillationConfig


class _Training(SeededModule):
    """AdamW with a cosine schedule over epochs."""

    #: Not a submodule: a teacher's weights belong neither to the student's checkpoint nor to its weights.
    _teacher: tuple[VgaeTeacher, ...] | tuple[GatTeacher, ...]

    def __init__(self, config: TrainingConfig, seed: int) -> None:
        super().__init__(seed)
        self.config = config

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters,
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            # Lightning cannot clip for a fused optimiser in mixed precision.
            fused=self.config.precision == "32-true",
        )
        epochs = self.config.max_epochs

        def factor(epoch: int) -> float:
            return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))

        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, factor)]

    def all_modules(self) -> Iterator[nn.Module]:
        yield from super().all_modules()
        for teacher in self._teacher:
            yield from teacher.model.modules()

    def _record(self, name: str, value: Tensor, batch: GraphBatch) -> None:
        self.record(name, value, batch.num_graphs)


class VgaeTraining(_Training):
    """Minimises the negative evidence lower bound on benign windows, plus the distance to a teacher."""

    def __init__(
        self, model: Vgae, config: TrainingConfig, seed: int, teacher: VgaeTeacher | None = None
    ) -> None:
        super().__init__(config, seed)
        self.model = model
        self._teacher = (VgaeTeacher(freeze(teacher.model), teacher.config),) if teacher else ()  # type: ignore[arg-type]
        if teacher:
            self.projection = LatentProjection(model.config.latent, teacher.model.config.latent)

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        output = self.model(batch)
        loss: Tensor = self.model.loss(output)
        self._record("train_elbo", loss, batch)
        for teacher in self._teacher:
            with torch.no_grad():
                taught = teacher.model.to(self.device)(batch)
            latent = self.projection.loss(output.mu_NZ, taught.mu_NZ)
            reconstruction = F.mse_loss(output.x_hat_ND, taught.x_hat_ND)
            self._record("train_distillation", latent + reconstruction, batch)
            loss = loss + teacher.config.latent_weight * latent
            loss = loss + teacher.config.reconstruction_weight * reconstruction
        self._record("train_loss", loss, batch)
        return loss

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        output = self.model(batch)
        self._record("val_loss", self.model.loss(output), batch)
        self._record("val_feature_error", output.feature_error_N.mean(), batch)


class GatTraining(_Training):
    """Cross-entropy on window labels, mixed with the softened teacher where there is one."""

    def __init__(
        self, model: Gat, config: TrainingConfig, seed: int, teacher: GatTeacher | None = None
    ) -> None:
        super().__init__(config, seed)
        self.model = model
        self._teacher = (GatTeacher(freeze(teacher.model), teacher.config),) if teacher else ()  # type: ignore[arg-type]

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        logits_GC = self.model(batch).logits_GC
        loss = F.cross_entropy(logits_GC, batch.y.long())
        self._record("train_cross_entropy", loss, batch)
        for teacher in self._teacher:
            with torch.no_grad():
                taught_GC = teacher.model.to(self.device)(batch).logits_GC
            softened = softened_kl(logits_GC, taught_GC, teacher.config.temperature)
            self._record("train_distillation", softened, batch)
            loss = (1 - teacher.config.kl_weight) * loss + teacher.config.kl_weight * softened
        self._record("train_loss", loss, batch)
        return loss

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        logits_GC = self.model(batch).logits_GC
        self._record("val_loss", F.cross_entropy(logits_GC, batch.y.long()), batch)
        correct_G = logits_GC.argmax(-1) == batch.y
        self._record("val_accuracy", correct_G.float().mean(), batch)
