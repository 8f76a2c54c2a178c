"""How the VGAE and classifiers of windows learn, alone or from a teacher (Lightning modules).

Shapes: G windows of a batch, W of them judged (all of them by a GAT, the last of each sequence by a temporal detector),
C = 2 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from candor.ids.config import CurriculumConfig, DistillationConfig, LossConfig, TrainingConfig
from candor.ids.models.gat import Gat, attack_probability
from candor.ids.models.vgae import Vgae
from candor.learn.batching import GraphBatch
from candor.learn.curriculum import CurriculumSampler, remine
from candor.learn.distillation import LatentProjection, softened_kl
from candor.learn.fit import SeededModule, freeze
from candor.learn.losses import focal, weighted_cross_entropy
from candor.learn.ranks import agreed
from candor.learn.schedules import attach


@dataclass(frozen=True)
class VgaeTeacher:
    """A frozen teacher and what the student takes from it."""

    model: Vgae
    config: DistillationConfig


@dataclass(frozen=True)
class WindowTeacher:
    """A frozen classifier of windows and what the student takes from it.

    ``logits_GC``: what it says of every training window, by position in the store; None: it is asked in every step, with
    the student's batches.
    """

    model: nn.Module
    config: DistillationConfig
    logits_GC: Tensor | None = None


@dataclass(frozen=True)
class Miner:
    """Mines the hardness of benign training windows anew while the classifier trains.

    Attributes:
        sampler: told the new hardness. y_G: labels of the training windows.
        hardness_G: at the start. batches: give every training window to be judged once.
    """

    config: CurriculumConfig
    sampler: CurriculumSampler
    y_G: NDArray[np.uint8]
    hardness_G: NDArray[np.float64]
    batches: Callable[[], Iterable[GraphBatch]]

    def momentum(self, epoch: int, epochs: int) -> float:
        """Linear from the first epoch to the last."""
        start, end = self.config.momentum_start, self.config.momentum_end
        return start + (end - start) * epoch / max(epochs - 1, 1)

    @torch.inference_mode()
    def mine(
        self, classifier: WindowTraining, hardness_G: NDArray[np.float64], momentum: float
    ) -> NDArray[np.float64]:
        """Hardness after a refresh by what ``classifier`` takes for an attack."""
        classifier.model.eval()
        fresh_G = np.zeros(len(self.y_G))
        for batch in self.batches():
            logits_WC = classifier.judge(classifier.model, batch.to(classifier.device))
            fresh_G[classifier.judged(batch.index).cpu().numpy()] = (
                attack_probability(logits_WC).cpu().numpy()
            )
        return remine(hardness_G, fresh_G, self.y_G, momentum)


class Training(SeededModule):
    """AdamW with the configured schedule over epochs."""

    #: Not a submodule: a teacher's weights belong neither to the student's checkpoint nor to its weights.
    _teacher: tuple[Any, ...]

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
        return attach(optimizer, self.config.schedule, self.config.max_epochs, monitor="val_loss")

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Lightning steps a plateau behind the checkpoint of its epoch; a resumed run would lose the step."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_validation_end(self) -> None:
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(self.mean_so_far("val_loss"))

    def all_modules(self) -> Iterator[nn.Module]:
        yield from super().all_modules()
        for teacher in self._teacher:
            yield from teacher.model.modules()

    def _record(self, name: str, value: Tensor, batch: GraphBatch) -> None:
        self.record(name, value, batch.num_graphs)


class VgaeTraining(Training):
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


def window_loss(config: LossConfig, logits_GC: Tensor, y_G: Tensor, attack_weight: float) -> Tensor:
    """The configured loss on window labels; scalar. ``attack_weight``: where the loss leaves it open."""
    match config.kind:
        case "cross_entropy":
            return F.cross_entropy(logits_GC, y_G.long())
        case "weighted":
            return weighted_cross_entropy(logits_GC, y_G, config.attack_weight or attack_weight)
        case "focal":
            return focal(logits_GC, y_G, config.gamma, config.alpha)


class WindowTraining(Training):
    """The configured loss on window labels, mixed with the softened teacher where there is one.

    ``attack_weight``: how many benign windows an attack window counts for where the loss leaves it open.
    """

    hardness_G: Tensor
    _teacher: tuple[WindowTeacher, ...]

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        seed: int,
        teacher: WindowTeacher | None = None,
        *,
        attack_weight: float = 1.0,
        miner: Miner | None = None,
    ) -> None:
        super().__init__(config, seed)
        self.model = model
        self._attack_weight, self._miner = attack_weight, miner
        self._teacher = (replace(teacher, model=freeze(teacher.model)),) if teacher else ()
        if miner is not None:  # In the checkpoint, so that a resumed run goes on with what was mined.
            self.register_buffer("hardness_G", torch.as_tensor(miner.hardness_G))

    def judge(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        """Logits ``[W, C]`` by this module's model, or by its teacher."""
        raise NotImplementedError

    def judged(self, value_G: Tensor) -> Tensor:
        """Those of a batch's values that belong to the windows that are judged, ``[W]``."""
        return value_G

    def loss(self, logits_WC: Tensor, y_W: Tensor) -> Tensor:
        """The configured loss; scalar."""
        return window_loss(self.config.loss, logits_WC, y_W, self._attack_weight)

    def training_step(self, batch: GraphBatch, batch_idx: int) -> Tensor:
        logits_WC = self.judge(self.model, batch)
        loss = self.loss(logits_WC, self.judged(batch.y))
        self._record(f"train_{self.config.loss.kind}", loss, batch)
        for teacher in self._teacher:
            softened = softened_kl(logits_WC, self._taught(teacher, batch), teacher.config.temperature)
            self._record("train_distillation", softened, batch)
            loss = (1 - teacher.config.kl_weight) * loss + teacher.config.kl_weight * softened
        self._record("train_loss", loss, batch)
        return loss

    @torch.no_grad()
    def _taught(self, teacher: WindowTeacher, batch: GraphBatch) -> Tensor:
        if teacher.logits_GC is not None:
            at_W = self.judged(batch.index)
            return teacher.logits_GC[at_W.to(teacher.logits_GC.device)].to(self.device)
        return self.judge(teacher.model.to(self.device), batch)

    def validation_step(self, batch: GraphBatch, batch_idx: int) -> None:
        logits_WC, y_W = self.judge(self.model, batch), self.judged(batch.y)
        self._record("val_loss", self.loss(logits_WC, y_W), batch)
        self._record("val_accuracy", (logits_WC.argmax(-1) == y_W).float().mean(), batch)

    def on_fit_start(self) -> None:
        if self._miner is not None:
            self._miner.sampler.set_hardness(self.hardness_G.cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        """Mine here and not at the end of the epoch: its checkpoint must hold what the next epoch is chosen by."""
        every = self._miner.config.refresh_epochs if self._miner else 0
        if self._miner is None or (self.current_epoch + 1) % every:
            return
        momentum = self._miner.momentum(self.current_epoch, self.config.max_epochs)
        mined = agreed(self._miner.mine(self, self.hardness_G.cpu().numpy(), momentum))
        self.hardness_G.copy_(torch.as_tensor(mined))
        self._miner.sampler.set_hardness(mined)


class GatTraining(WindowTraining):
    """Of a GAT, which judges every window of a batch."""

    model: Gat

    def judge(self, model: nn.Module, batch: GraphBatch) -> Tensor:
        logits_GC: Tensor = model(batch).logits_GC
        return logits_GC
