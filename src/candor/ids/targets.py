"""Which model a person means by ``teacher.vgae``, ``small.gat``, ``teacher`` or nothing. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from candor.config.layers import nearest
from candor.errors import NotFound
from candor.ids.config import BudgetTask, ExperimentConfig, TemporalConfig, VariantConfig

Kind = Literal["vgae", "gat", "temporal"]


@dataclass(frozen=True)
class Target:
    """A model of an experiment."""

    variant: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.variant}.{self.kind}"


def kinds_of(variant: VariantConfig) -> list[Kind]:
    """Models of a variant that are trained on graphs: a temporal detector is asked for."""
    return [kind for kind in get_args(Kind) if getattr(variant, kind) is not None]


def choose(config: ExperimentConfig, wanted: str = "") -> Target:
    """The model called ``wanted``: VARIANT.MODEL, SCALE.MODEL for the first variant of a scale, or MODEL for the largest.

    Without a model name the larger of the variant's, without any name the largest of the experiment: by channels kept for
    the backward pass (hidden width × layers), which is what memory goes into. Raises NotFound with the nearest name.
    """
    variants = {
        **{v.scale: name for name, v in reversed(list(config.variants.items()))},
        **{name: name for name in config.variants},
    }
    at, _, kind = wanted.partition(".")
    if at not in variants and at in get_args(Kind) and not kind:
        at, kind = "", at
    names = [name for name in config.variants if at in ("", name) or variants.get(at) == name]
    found = [Target(n, k) for n in names for k in kinds_of(config.variants[n]) if kind in ("", k)]
    if not found:
        known = [f"{name}.{k}" for name, variant in config.variants.items() for k in kinds_of(variant)]
        near = nearest(wanted, known)
        hint = f"Did you mean '{near}'? " if near else ""
        hint += f"Models: {', '.join(known)}."
        if kind == "temporal":
            hint = "Ask for a detector of sequences: --set temporal.windows=8."
        raise NotFound(f"no model '{wanted}'", place=f"experiment {config.experiment}", hint=hint)
    return max(found, key=lambda t: _size(config, t))


def budget_task(config: ExperimentConfig, target: Target, device: str) -> BudgetTask:
    """The task that finds the batch budget of a model on a type of device."""
    variant = config.variants[target.variant]
    teacher = config.variants.get(variant.teacher or "")
    taught_by = getattr(teacher, target.kind) if teacher else None
    return BudgetTask(
        scale=variant.scale,
        model=getattr(variant, target.kind),
        teacher=taught_by,
        distillation=variant.distillation if taught_by is not None else None,
        precision=variant.training.precision,
        device=device,
        search=variant.training.budget,
        threads=variant.training.threads,
    )


def _size(config: ExperimentConfig, target: Target) -> int:
    model = getattr(config.variants[target.variant], target.kind)
    # A convolution and a recurrent cell.
    return int(model.hidden * (2 if isinstance(model, TemporalConfig) else model.layers))
