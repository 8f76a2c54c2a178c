"""Why a key changed: which science fields, inputs or stage versions differ between two plans or configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from candor.config.layers import flatten
from candor.flow.plan import Plan, PlannedTask

#: Stands for a field that one side does not have.
ABSENT = "(absent)"


@dataclass(frozen=True)
class FieldChange:
    """One dotted key whose value differs."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.old)} → {_short(self.new)}"


@dataclass(frozen=True)
class TaskDrift:
    """What became of one task between two plans.

    Attributes:
        fields: science fields that differ. inputs: input names whose artifact differs.
        version: (old, new) stage version, if it differs.
    """

    task: str
    status: Literal["same", "changed", "new", "removed"]
    fields: tuple[FieldChange, ...] = ()
    inputs: tuple[str, ...] = ()
    version: tuple[int, int] | None = None
    stage: tuple[str, str] | None = None

    @property
    def why(self) -> str:
        """The reasons in one line, the task's own changes before those it inherits; empty if none."""
        parts = [str(change) for change in self.fields]
        if self.stage:
            parts.append(f"stage: {self.stage[0]} → {self.stage[1]}")
        if self.version:
            parts.append(f"stage version: {self.version[0]} → {self.version[1]}")
        if self.inputs:
            parts.append(f"input {', '.join(self.inputs)} changed")
        return "; ".join(parts)


def diff_configs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldChange]:
    """Leaves that differ between two JSON configs, in the order of ``new``, then those only ``old`` has."""
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        FieldChange(key, before.get(key, ABSENT), after.get(key, ABSENT))
        for key in dict.fromkeys([*after, *before])
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


def explain(old: Plan, new: Plan) -> list[TaskDrift]:
    """One entry per task of ``new`` in its order, then the tasks only ``old`` has."""
    before = {t.id: t for t in old.tasks}
    drifts = [explain_task(before.get(task.id), task) for task in new.tasks]
    after = {t.id for t in new.tasks}
    return drifts + [TaskDrift(task_id, "removed") for task_id in before if task_id not in after]


def explain_task(old: PlannedTask | None, new: PlannedTask) -> TaskDrift:
    """Why ``new`` has another key than ``old``."""
    if old is None:
        return TaskDrift(new.id, "new")
    if old.key == new.key:
        return TaskDrift(new.id, "same")
    names = dict.fromkeys([*new.input_keys, *old.input_keys])
    return TaskDrift(
        new.id,
        "changed",
        fields=tuple(diff_configs(old.science, new.science)),
        inputs=tuple(n for n in names if old.input_keys.get(n) != new.input_keys.get(n)),
        version=None if old.version == new.version else (old.version, new.version),
        stage=None if old.stage == new.stage else (old.stage, new.stage),
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
