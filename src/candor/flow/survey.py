"""What of a plan is published already, what must run, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from candor.flow.artifact import ArtifactStore
from candor.flow.drift import explain_task
from candor.flow.plan import Plan, PlannedTask


@dataclass(frozen=True)
class TaskState:
    """One task before a run.

    Attributes:
        state: ``stale`` is ``to run`` where an earlier run had the task with another key; ``why`` says what changed.
    """

    task: PlannedTask
    state: Literal["cached", "to run", "stale", "corrupted"]
    why: str = ""


def survey(plan: Plan, store: ArtifactStore, *, earlier: Iterable[Plan] = ()) -> list[TaskState]:
    """State of every task, in plan order. Changes nothing.

    Artifacts that someone is about to read (inputs of tasks to run, and final ones) are verified by digest, the others by size.

    Args:
        earlier: plans of earlier runs, the latest first; the first one that knows a task explains why it is stale.
    """
    earlier = list(earlier)
    states: dict[str, TaskState] = {}
    read = {t.id for t in plan.tasks} - {s for t in plan.tasks for s in t.inputs.values()}
    # Backwards: whether a task must run decides how closely its inputs are looked at.
    for task in reversed(plan.tasks):
        found, why = store.inspect(task.stage, task.key, verify=task.id in read)
        if found == "published":
            states[task.id] = TaskState(task, "cached")
            continue
        read |= set(task.inputs.values())
        states[task.id] = (
            TaskState(task, "corrupted", why) if found == "corrupted" else _unpublished(task, earlier)
        )
    return [states[t.id] for t in plan.tasks]


def _unpublished(task: PlannedTask, earlier: list[Plan]) -> TaskState:
    for plan in earlier:
        old = plan.find(task.id)
        if old is not None:
            drift = explain_task(old, task)
            return (
                TaskState(task, "stale", drift.why)
                if drift.status == "changed"
                else TaskState(task, "to run")
            )
    return TaskState(task, "to run")
