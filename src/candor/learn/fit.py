"""Training by Lightning, with what a cluster demands: atomic resumable checkpoints, recorded metrics, no pickle."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import lightning as L
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor, nn

from candor.flow.stage import Output
from candor.learn import ranks
from candor.learn.averaging import WeightAverage
from candor.learn.checkpoints import load_tree, load_weights, save_tree, save_weights, seed_everything
from candor.learn.loading import GraphLoader
from candor.learn.profiling import StepProfile, StepProfiler

log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

_CHECKPOINT = "training.safetensors"
_BEST = "best.safetensors"
#: Folder of a training's artifact that holds its profile, where it was asked for one.
PROFILE = "profile"


class TrainingOptions(Protocol):
    """What :func:`fit` needs of a training config."""

    @property
    def max_epochs(self) -> int: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def accumulate_batches(self) -> int: ...
    @property
    def precision(self) -> Literal["32-true", "16-mixed", "bf16-mixed"]: ...
    @property
    def ema_decay(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]: ...
    @property
    def threads(self) -> int: ...
    @property
    def profile(self) -> bool: ...


class Loader(Protocol):
    """Gives a module its batches: a GraphLoader, or several of them interleaved."""

    @property
    def pin_memory(self) -> bool: ...
    @pin_memory.setter
    def pin_memory(self, pinned: bool) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class FitReport:
    """What training came to."""

    epochs: int
    best_epoch: int
    best_loss: float
    resumed_from: int
    profile: StepProfile | None = None


class SafetensorsCheckpoints(CheckpointIO):
    """Lightning's checkpoints as safetensors."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.pop("hparams_name", None)
        save_tree(Path(path), checkpoint)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_tree(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class _Keeper(L.Callback):
    """Records metrics, keeps the best weights and a resumable checkpoint, stops early."""

    def __init__(
        self, out: Output, options: TrainingOptions, monitor: str, average: WeightAverage | None
    ) -> None:
        self._out, self._monitor, self._average = out, monitor, average
        self._patience, self._tolerance = options.patience, options.tolerance
        self.best_loss, self.best_epoch, self.improved_epoch, self.resumed_from = math.inf, -1, -1, 0

    # Lightning keeps this state inside the checkpoint.
    def state_dict(self) -> dict[str, Any]:
        names = ("best_loss", "best_epoch", "improved_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.resumed_from = trainer.current_epoch
        self._out.recorder.rewind(trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (
            batch_idx % 8 == 0
        ):  # Reading the loss synchronises the device; the bar need not move at every step.
            done = trainer.current_epoch + (batch_idx + 1) / max(1, int(trainer.num_training_batches))
            self._out.progress(done, trainer.max_epochs or 1, f"epoch {trainer.current_epoch + 1}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if isinstance(pl_module, SeededModule):
            metrics |= pl_module.take_means()
        epoch, loss = trainer.current_epoch, metrics[self._monitor]
        self._out.recorder.log(epoch, metrics)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        log.info("epoch %d of %s: %s", epoch + 1, trainer.max_epochs, shown)
        if not math.isfinite(metrics.get("train_loss", 0.0)):
            raise FloatingPointError(
                f"training loss became {metrics['train_loss']} in epoch {epoch}; lower training.learning_rate"
            )
        if loss < self.best_loss - self._tolerance:
            self.improved_epoch = epoch
        if loss <= self.best_loss + self._tolerance:
            self.best_loss, self.best_epoch = min(loss, self.best_loss), epoch
            with self._average.applied(pl_module) if self._average else nullcontext():
                if trainer.is_global_zero:
                    save_weights(self._out.scratch / _BEST, pl_module)
        if self._patience and epoch - self.improved_epoch >= self._patience:
            trainer.should_stop = True
        self._out.progress(epoch + 1, trainer.max_epochs or 1, f"{self._monitor} {loss:.4g}")
        trainer.save_checkpoint(self._out.scratch / _CHECKPOINT)


class _Data(L.LightningDataModule):
    """Hands Lightning loaders whose samplers know the epoch; a resumed epoch is shuffled as it would have been."""

    def __init__(self, train: Loader, val: Loader) -> None:
        super().__init__()
        self._train, self._val = train, val

    def train_dataloader(self) -> Loader:
        self._train.set_epoch(self.trainer.current_epoch)  # type: ignore[union-attr]
        return self._train

    def val_dataloader(self) -> Loader:
        return self._val


class SeededModule(L.LightningModule):
    """A module whose random stream is a function of (seed, epoch), so that a resumed run repeats an undisturbed one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def record(self, name: str, value: Tensor, graphs: int) -> None:
        """Count a batch's mean towards the epoch's mean of this metric.

        What ``self.log(on_epoch=True)`` does, without its 0.25 ms a call: half of what Lightning took of a CPU step.
        """
        total, number = self._sums.get(name, (0.0, 0))
        self._sums[name] = (total + value.detach() * graphs, number + graphs)

    def mean_so_far(self, name: str) -> float:
        """Mean of a metric over the graphs seen since the means were taken. Raises KeyError if it was not recorded."""
        return _mean(*self._sums[name])

    def take_means(self) -> dict[str, float]:
        """Mean of every metric over the graphs seen since the last call."""
        means = {name: _mean(total, number) for name, (total, number) in self._sums.items()}
        self._sums = {}
        return means

    def on_train_epoch_start(self) -> None:
        mine = ranks.rank().number  # Processes that train together draw other noise each.
        seed_everything(self.seed, self.current_epoch, 0, *([mine] if mine else []))

    def on_validation_epoch_start(self) -> None:
        seed_everything(self.seed, 0, 1)  # The same draws in every epoch: validation losses compare.

    def all_modules(self) -> Iterator[nn.Module]:
        """Every module that works in a training step, a teacher's too."""
        yield from self.modules()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True)  # Pinned memory is not reused before the copy is done.


def _mean(total: Tensor, number: int) -> float:
    """Over the graphs of all processes that train together: they must agree, to stop or to lower the rate alike."""
    if ranks.rank().of > 1:
        both = torch.stack([total.double().cpu(), torch.tensor(float(number), dtype=torch.float64)])
        total, number = ranks.added_up(both)
    return float(total / number)


def accelerator(device: Literal["auto", "cpu", "cuda"]) -> str:
    """Lightning's name of the device to use."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def use_threads(threads: int) -> None:
    """Let torch use ``threads`` threads; 0: all processors this process may run on, shared with those it trains with."""
    torch.set_num_threads(threads or max(len(os.sched_getaffinity(0)) // ranks.rank().of, 1))


def fit(
    build: Callable[[], SeededModule],
    train: Loader,
    val: Loader,
    options: TrainingOptions,
    out: Output,
    *,
    monitor: str = "val_loss",
) -> tuple[SeededModule, FitReport]:
    """Train until ``max_epochs`` or until ``monitor`` stops falling; return the module with its best weights.

    Every epoch leaves a checkpoint in ``out.scratch``. If one is there already, training continues behind it and
    gives the same curve as an undisturbed run. Processes that train together (learn.ranks) all go through here; ``train``
    gives each its share of the batches, and ``val`` gives all of them every batch.

    Raises:
        KeyboardInterrupt: interrupted; the last epoch's checkpoint stands.
        FloatingPointError: the training loss is no longer finite, or ``monitor`` never was.
    """
    use_threads(options.threads)
    train.pin_memory = val.pin_memory = accelerator(options.device) == "cuda"
    module = build()
    average = WeightAverage(options.ema_decay) if options.ema_decay else None
    keeper = _Keeper(out, options, monitor, average)
    profiled = options.profile and isinstance(train, GraphLoader)
    profiler = StepProfiler(train, out.path / PROFILE, watched_modules) if profiled else None  # type: ignore[arg-type]
    callbacks: list[L.Callback] = [c for c in (average, keeper, profiler) if c is not None]
    with _quiet():
        trainer = _trainer(options, callbacks, max_epochs=options.max_epochs)
        checkpoint = out.scratch / _CHECKPOINT
        _run(trainer, module, _Data(train, val), checkpoint if checkpoint.is_file() else None)
    if not (out.scratch / _BEST).is_file():
        raise FloatingPointError(
            f"{monitor} was never a finite number in {trainer.current_epoch} epochs; lower training.learning_rate"
        )
    load_weights(out.scratch / _BEST, module)
    module.eval()
    epochs = trainer.current_epoch
    profile = profiler.result if profiler else None
    return module, FitReport(epochs, keeper.best_epoch, keeper.best_loss, keeper.resumed_from, profile)


def run_steps(
    module: SeededModule, train: GraphLoader, options: TrainingOptions, profiler: StepProfiler
) -> None:
    """Train until the profiler has seen enough; nothing is kept."""
    use_threads(options.threads)
    train.pin_memory = accelerator(options.device) == "cuda"

    class Enough(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            trainer.should_stop = profiler.result is not None

    with _quiet():
        # max_epochs −1: a small data set is gone through again and again.
        trainer = _trainer(options, [profiler, Enough()], max_epochs=-1, limit_val_batches=0)
        _run(trainer, module, _Data(train, train), None)


def watched_modules(module: L.LightningModule) -> Iterator[nn.Module]:
    """What a profiler looks at."""
    assert isinstance(module, SeededModule)
    return module.all_modules()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # Worker processes would only copy what is memory-mapped; small runs have few batches. Neither is news.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


def _trainer(options: TrainingOptions, callbacks: list[L.Callback], **more: Any) -> L.Trainer:
    return L.Trainer(
        accelerator=accelerator(options.device),
        # Threads adding floats in another order differ in the seventh digit, and epochs later in the first.
        deterministic="warn",
        devices=ranks.rank().of,
        # No batch leaves a parameter without a gradient (a test), so DDP need not look for such.
        strategy="ddp" if ranks.rank().of > 1 else "auto",
        precision=options.precision if accelerator(options.device) == "cuda" else "32-true",
        accumulate_grad_batches=options.accumulate_batches,
        gradient_clip_val=options.gradient_clip or None,
        plugins=[SafetensorsCheckpoints(), *([ranks.Group()] if ranks.rank().of > 1 else [])],
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,  # The curriculum changes the number of batches.
        **more,
    )


def _run(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, checkpoint: Path | None
) -> None:
    """``trainer.fit``, with an interruption that stays one: Lightning turns it into SystemExit."""
    try:
        trainer.fit(module, data, ckpt_path=checkpoint)
    except SystemExit:
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def freeze(module: nn.Module) -> nn.Module:
    """A teacher: evaluation mode, no gradients."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()
