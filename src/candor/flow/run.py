"""The folder of a run: its plan, where it came from, its attempts and its journal.

``<run_root>/runs/<run>/``: ``run.json``, ``plan.json``, ``journal.jsonl``, ``tasks/<task>/attempt-<n>/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import candor
from candor.config.base import Config
from candor.config.layers import nearest
from candor.errors import NotFound
from candor.flow.attempt import Attempt, read_attempts
from candor.flow.journal import Journal
from candor.flow.plan import Plan, read_plan
from candor.flow.storage import write_atomic


class RunInfo(Config):
    """``run.json``. ``origins``: dotted key → layer that stated it. Times are UTC, ISO 8601."""

    schema_version: int = 1
    run: str
    pipeline: str
    command: str
    config: dict[str, Any]
    origins: dict[str, str]
    plan_key: str
    created: str
    last_started: str
    candor_version: str


@dataclass(frozen=True)
class Run:
    """One run on disk."""

    path: Path

    @property
    def id(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def journal(self) -> Journal:
        """Its events."""
        return Journal(self.path / "journal.jsonl")

    def plan(self) -> Plan:
        """The frozen plan."""
        return read_plan(self.path / "plan.json")

    def info(self) -> RunInfo:
        """Where the run came from. Raises NotFound if ``run.json`` is gone or unreadable."""
        try:
            return RunInfo.model_validate_json((self.path / "run.json").read_bytes())
        except (OSError, ValidationError) as e:
            raise NotFound(f"run '{self.id}' has no readable run.json", place=str(self.path)) from e

    def task_dir(self, task_id: str) -> Path:
        """Folder of a task's attempts."""
        return self.path / "tasks" / task_id

    def attempts(self, task_id: str) -> list[Attempt]:
        """Attempts at a task in this run, oldest first."""
        return read_attempts(self.task_dir(task_id))


def open_run(
    run_root: Path, plan: Plan, *, config: dict[str, Any], origins: dict[str, str], command: str
) -> Run:
    """Make the run's folder, or take it up again: the same plan is the same run, and keeps when it was first made."""
    run = Run(run_root / "runs" / plan.run_id)
    run.path.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat()
    try:
        created = run.info().created
    except NotFound:
        created = now
    info = RunInfo(
        run=run.id,
        pipeline=plan.pipeline,
        command=command,
        config=config,
        origins=origins,
        plan_key=plan.key,
        created=created,
        last_started=now,
        candor_version=candor.__version__,
    )
    plan.write(run.path / "plan.json")
    write_atomic(run.path / "run.json", info.model_dump_json(indent=2))
    return run


def list_runs(run_root: Path) -> list[tuple[Run, RunInfo]]:
    """All readable runs, the latest started first."""
    found = []
    for path in (run_root / "runs").glob("*/run.json"):
        run = Run(path.parent)
        try:
            found.append((run, run.info()))
        except NotFound:
            continue
    return sorted(found, key=lambda pair: pair[1].last_started, reverse=True)


def find_run(run_root: Path, name: str | None = None) -> Run:
    """The run called ``name`` (or whose name uniquely starts or ends so); the latest if ``name`` is None.

    Raises NotFound with the nearest name.
    """
    runs = [run for run, _ in list_runs(run_root)]
    if not runs:
        raise NotFound(
            "there is no run yet", place=str(run_root / "runs"), hint="Start one with `candor run`."
        )
    if name is None:
        return runs[0]
    exact = [r for r in runs if r.id == name]
    partial = [r for r in runs if r.id.startswith(name) or r.id.endswith(name)]
    if len(exact or partial) == 1:
        return (exact or partial)[0]
    if partial:
        raise NotFound(f"'{name}' fits several runs", hint=f"Name one: {', '.join(r.id for r in partial)}.")
    near = nearest(name, [r.id for r in runs])
    hint = f"Did you mean '{near}'?" if near else "See `candor status` for all runs."
    raise NotFound(f"no run called '{name}'", place=str(run_root / "runs"), hint=hint)
