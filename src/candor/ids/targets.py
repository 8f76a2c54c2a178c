"""Which model a person means by ``teacher.vgae``, ``small.gat``, ``teacher`` or nothing. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candor.config.layers import nearest
from candor.errors import NotFound
from candor.ids.config import BudgetTask, ExperimentConfig, GatConfig, VgaeConfig

Kind = Literal["vgae", "gat"]
KINDS: tuple[Kind, ...] = ("vgae", "gat")


@dataclass(frozen=True)
class Target:
    """A model of an experiment."""

    variant: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.variant}.{self.kind}"


def choose(config: ExperimentConfig, wanted: str = "") -> Target:
    """The model called ``wanted``: VARIANT.MODEL, or SCALE.MODEL for the first variant of a scale.

    Without a model name the larger of the two, without any name the largest of the experiment: by channels kept for
    the backward pass (hidden width × layers), which is what memory goes into. Raises NotFound with the nearest name.
    """
    variants = {
        **{v.scale: name for name, v in reversed(list(config.variants.items()))},
        **{name: name for name in config.variants},
    }
    at, _, kind = wanted.partition(".")
    known = [f"{name}.{k}" for name in config.variants for k in KINDS]
    if wanted and (at not in variants or (kind and kind not in KINDS)):
        near = nearest(wanted, known)
        hint = (f"Did you mean '{near}'? " if near else "") + f"Models: {', '.join(known)}."
        raise NotFound(f"no model '{wanted}'", place=f"experiment {config.experiment}", hint=hint)
    names = [variants[at]] if wanted else list(config.variants)
    kinds = [k for k in KINDS if k == kind] or list(KINDS)
    return max((Target(name, k) for name in names for k in kinds), key=lambda t: _size(config, t))


def budget_task(config: ExperimentConfig, target: Target, device: str) -> BudgetTask:
    """The task that finds the batch budget of a model on a type of device."""
    variant = config.variants[target.variant]
    teacher = config.variants.get(variant.teacher or "")
    return BudgetTask(
        scale=variant.scale,
        model=getattr(variant, target.kind),
        teacher=getattr(teacher, target.kind) if teacher else None,
        distillation=variant.distillation if teacher else None,
        precision=variant.training.precision,
        device=device,
        search=variant.training.budget,
        threads=variant.training.threads,
    )


def _size(config: ExperimentConfig, target: Target) -> int:
    model: VgaeConfig | GatConfig = getattr(config.variants[target.variant], target.kind)
    return model.hidden * model.layers
