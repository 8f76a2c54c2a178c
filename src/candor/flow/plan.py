"""A pipeline rendered to a frozen DAG with a key per task, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from candor.config.base import Config
from candor.config.fingerprint import digest, science
from candor.config.layers import nearest
from candor.errors import ConfigError, NotFound
from candor.flow.storage import write_atomic

SCHEMA_VERSION = 1
#: Task IDs and stages name folders.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


class Resources(Config):
    """What an executor should reserve for a task. Never part of a key.

    Attributes:
        gpus: a whole number, or a fraction below one for tasks that share a GPU. Who can only reserve whole ones (SLURM)
            rounds up.
        memory_gb: 10⁹ bytes.
    """

    cpus: Annotated[int, Field(gt=0)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    time_limit_min: Annotated[int, Field(gt=0)] | None = None

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_part_of_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError("more than one GPU must be a whole number of them")
        return gpus


@dataclass(frozen=True)
class TaskSpec:
    """One node as a pipeline declares it.

    Attributes:
        id: unique in the pipeline; becomes a folder name (letters, digits, ``. _ + -``).
        stage: name of the stage function; ``version`` goes up whenever its results change for the same config.
        inputs: input name → ID of the task whose artifact it is.
    """

    id: str
    stage: str
    version: int
    config: Config
    inputs: dict[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)


class PlannedTask(Config):
    """One node of a frozen plan. ``config`` is complete, ``science`` is the part that makes the key."""

    id: str
    stage: str
    version: int
    config: dict[str, Any]
    science: dict[str, Any]
    inputs: dict[str, str]
    input_keys: dict[str, str]
    key: str
    resources: Resources


class Plan(Config):
    """Tasks in an order in which they can run. The same tasks with the same keys are the same run."""

    schema_version: int = SCHEMA_VERSION
    pipeline: str
    tasks: tuple[PlannedTask, ...]

    @property
    def key(self) -> str:
        """SHA-256 over the pipeline's name and every task's key."""
        return digest([self.pipeline, sorted([t.id, t.key] for t in self.tasks)])

    @property
    def run_id(self) -> str:
        """``NAME-xxxxxxxx``."""
        return f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', self.pipeline).strip('-.')}-{self.key[:8]}"

    @cached_property
    def _indexed(self) -> tuple[tuple[PlannedTask, ...], dict[str, PlannedTask]]:
        return self.tasks, {t.id: t for t in self.tasks}

    def find(self, task_id: str) -> PlannedTask | None:
        """The task of that ID, if there is one."""
        if self._indexed[0] is not self.tasks:
            del self.__dict__["_indexed"]  # From the plan that this one is a changed copy of.
        return self._indexed[1].get(task_id)

    def task(self, task_id: str) -> PlannedTask:
        """The task of that ID. Raises NotFound with the nearest one."""
        task = self.find(task_id)
        if task is None:
            raise _no_task(task_id, [t.id for t in self.tasks], self.pipeline)
        return task

    def dependants(self, task_id: str) -> set[str]:
        """IDs of all tasks that need ``task_id``, directly or not."""
        found: set[str] = set()
        for task in self.tasks:
            if found.union({task_id}) & set(task.inputs.values()):
                found.add(task.id)
        return found

    def until(self, name: str) -> Plan:
        """Only the tasks called ``name`` (a task ID, a stage, or the first part of IDs) and what they need.

        Raises NotFound with the nearest name.
        """
        wanted = {t.id for t in self.tasks if name in (t.id, t.stage) or t.id.startswith(name + ".")}
        if not wanted:
            raise _no_task(name, [*(t.stage for t in self.tasks), *(t.id for t in self.tasks)], self.pipeline)
        for task in reversed(self.tasks):
            if task.id in wanted:
                wanted |= set(task.inputs.values())
        return self.model_copy(update={"tasks": tuple(t for t in self.tasks if t.id in wanted)})

    def write(self, path: Path) -> None:
        """Write ``plan.json``, whole or not at all."""
        write_atomic(path, self.model_dump_json(indent=2))


def read_plan(path: Path) -> Plan:
    """Read ``plan.json``. Raises NotFound if there is none, ConfigError if it is not a plan."""
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as e:
        raise NotFound("there is no plan", place=str(path), hint="Write one with `candor plan`.") from e
    except ValidationError as e:
        raise ConfigError("this file is not a plan of this version of candor", place=str(path)) from e


def task_key(stage: str, version: int, science_json: dict[str, Any], input_keys: dict[str, str]) -> str:
    """Identity of a task's output: stage, its version, the science of its config, the keys of its inputs."""
    return digest({"stage": stage, "version": version, "science": science_json, "inputs": input_keys})


def render(pipeline: str, specs: Iterable[TaskSpec]) -> Plan:
    """Freeze a pipeline: check it, order it, and give every task its key. Pure.

    Raises ConfigError for a duplicate or unusable ID, an input that no task makes, or a cycle.
    """
    by_id: dict[str, TaskSpec] = {}
    for spec in specs:
        if spec.id in by_id:
            raise ConfigError(f"two tasks are called '{spec.id}'", place=pipeline)
        for name in (spec.id, spec.stage):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"'{name}' cannot name a folder", place=pipeline, hint="Use letters, digits and . _ + -"
                )
        by_id[spec.id] = spec
    tasks: dict[str, PlannedTask] = {}
    for task_id in _ordered(pipeline, by_id):
        spec = by_id[task_id]
        facts = science(spec.config)
        input_keys = {name: tasks[source].key for name, source in spec.inputs.items()}
        tasks[task_id] = PlannedTask(
            id=spec.id,
            stage=spec.stage,
            version=spec.version,
            config=spec.config.model_dump(mode="json"),
            science=facts,
            inputs=dict(spec.inputs),
            input_keys=input_keys,
            key=task_key(spec.stage, spec.version, facts, input_keys),
            resources=spec.resources,
        )
    return Plan(pipeline=pipeline, tasks=tuple(tasks.values()))


def _ordered(pipeline: str, by_id: dict[str, TaskSpec]) -> list[str]:
    """Topological order that otherwise keeps the declared one."""
    for spec in by_id.values():
        for name, source in spec.inputs.items():
            if source not in by_id:
                near = nearest(source, by_id)
                raise ConfigError(
                    f"input '{name}' of task '{spec.id}' comes from '{source}', which is no task",
                    place=pipeline,
                    hint=f"Did you mean '{near}'?" if near else None,
                )
    sorter = TopologicalSorter({i: set(s.inputs.values()) for i, s in by_id.items()})
    try:
        sorter.prepare()
    except CycleError as e:
        raise ConfigError(
            f"tasks need each other in a circle: {' → '.join(e.args[1])}", place=pipeline
        ) from e
    rank = {task_id: i for i, task_id in enumerate(by_id)}
    order: list[str] = []
    ready = list(sorter.get_ready())
    while ready:
        ready.sort(key=rank.__getitem__)
        order.append(ready.pop(0))
        sorter.done(order[-1])
        ready += sorter.get_ready()
    return order


def _no_task(name: str, valid: Sequence[str], pipeline: str) -> NotFound:
    names = list(dict.fromkeys(valid))
    near = nearest(name, names)
    hint = f"Did you mean '{near}'?" if near else f"Available: {', '.join(names)}."
    return NotFound(f"no task or stage called '{name}'", place=pipeline, hint=hint)
