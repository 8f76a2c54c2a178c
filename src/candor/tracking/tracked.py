"""What is worth showing elsewhere, read from files alone: whoever tracks never talks to a stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from candor.flow.artifact import ArtifactStore
from candor.flow.attempt import METRICS, Attempt
from candor.flow.plan import Plan, PlannedTask
from candor.flow.run import Run
from candor.tracking.recorder import TABLE, read_rows


@dataclass(frozen=True)
class Row:
    """Metrics at one step of one clock (epoch, step, episode)."""

    kind: str
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Made:
    """An artifact, as a tracking service draws its lineage.

    Attributes:
        manifest: its ``record.json``.
        sources: input name → (stage, key) of the artifact read.
    """

    stage: str
    key: str
    manifest: Path
    sources: dict[str, tuple[str, str]]


class Shown(Protocol):
    """What becomes one run at the service: a task of a run, or a trial of a study."""

    @property
    def id(self) -> str:
        """ID at the service: the same for the same work, whoever did it."""

    @property
    def key(self) -> str:
        """What names the work, in full: a note on what was sent of another one does not count."""

    @property
    def name(self) -> str:
        """Unique among what is shown together; names files too."""

    @property
    def group(self) -> str:
        """What is shown together: the run or the study."""

    @property
    def job_type(self) -> str:
        """The kind of work."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its config."""

    @property
    def rows(self) -> Sequence[Row]:
        """All metrics so far, in the order in which they were logged."""

    @property
    def summary(self) -> dict[str, Any]:
        """What came out; empty before the end."""

    @property
    def outcome(self) -> str:
        """How it stands, in a word."""

    @property
    def reason(self) -> str:
        """Why it failed or was stopped; empty else."""

    @property
    def ended(self) -> bool:
        """True if nothing more will come unless someone runs it again."""

    @property
    def failed(self) -> bool:
        """Whether the service is to show it as a failure."""

    @property
    def started_s(self) -> float | None:
        """When it began, seconds since 1970; None if unknown."""

    @property
    def last_row_s(self) -> float | None:
        """When the last row was written, seconds since 1970; None without rows."""

    @property
    def made(self) -> Made | None:
        """Its artifact; None if it has none."""


class Source(Protocol):
    """Where what is shown together comes from."""

    @property
    def folder(self) -> Path:
        """Where notes on what was sent are kept."""

    def shown(self) -> Iterable[Shown]:
        """Everything there is to show now."""


@dataclass(frozen=True)
class TrackedTask:
    """A task as a tracking service sees it.

    Attributes:
        id: the same for the same work, whatever run did it: the start of the task's key.
        rows: all metrics so far, in the order in which they were logged.
        last_row_s: when the last row was written, seconds since the epoch; None without rows.
        outcome: of the last attempt; "published" if the artifact is there, however it came.
        manifest: ``record.json`` of the artifact; None while there is none.
        sources: input name → (stage, key) of the artifact read.
    """

    task: PlannedTask
    run: str
    outcome: str
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    last_row_s: float | None = None
    started_s: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    manifest: Path | None = None
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """ID of the task's run at the service."""
        return self.task.key[:24]

    @property
    def key(self) -> str:
        """The task's key."""
        return self.task.key

    @property
    def name(self) -> str:
        """The task's ID."""
        return self.task.id

    @property
    def group(self) -> str:
        """Its run."""
        return self.run

    @property
    def job_type(self) -> str:
        """Its stage."""
        return self.task.stage

    @property
    def settings(self) -> dict[str, Any]:
        """The science part of its config, and what identifies it."""
        inputs = {name: key for name, (_, key) in self.sources.items()}
        return {**self.task.science, "candor": {"key": self.task.key, "inputs": inputs}}

    @property
    def ended(self) -> bool:
        """True if nothing more will come unless someone runs it again."""
        return self.outcome != "running"

    @property
    def failed(self) -> bool:
        """Neither published nor under way."""
        return self.outcome not in ("published", "running")

    @property
    def made(self) -> Made | None:
        """Its artifact, once it is published."""
        if self.manifest is None:
            return None
        return Made(self.task.stage, self.task.key, self.manifest, self.sources)


@dataclass(frozen=True)
class TrackedRun:
    """A run as a source."""

    run: Run
    store: ArtifactStore

    @property
    def folder(self) -> Path:
        """``tracking`` in the run's folder."""
        return self.run.path / "tracking"

    def shown(self) -> Iterator[TrackedTask]:
        """Its tasks."""
        return tracked_tasks(self.run, self.store)


def tracked_tasks(run: Run, store: ArtifactStore) -> Iterator[TrackedTask]:
    """Every task of a run that was tried or is published, in plan order."""
    plan = run.plan()
    for task in plan.tasks:
        found = _tracked(run, plan, task, store)
        if found is not None:
            yield found


def _tracked(run: Run, plan: Plan, task: PlannedTask, store: ArtifactStore) -> TrackedTask | None:
    attempts = [a for a in run.attempts(task.id) if a.record.key == task.key]
    artifact = store.find(task.stage, task.key)
    if artifact is None and not attempts:
        return None
    last = attempts[-1] if attempts else None
    rows_path = _rows_path(task, store, last, artifact.path if artifact else None)
    inputs = {name: plan.task(source) for name, source in task.inputs.items()}
    return TrackedTask(
        task,
        run.id,
        "published" if artifact else last.record.outcome if last else "",
        (last.record.reason or "") if last and not artifact else "",
        _rows(rows_path),
        rows_path.stat().st_mtime if rows_path else None,
        _started_s(last),
        artifact.record.summary if artifact else {},
        artifact.path / "record.json" if artifact else None,
        {name: (source.stage, source.key) for name, source in inputs.items()},
    )


def _rows_path(
    task: PlannedTask, store: ArtifactStore, last: Attempt | None, artifact: Path | None
) -> Path | None:
    """The artifact's table, else what the task writes right now, else what its last attempt left."""
    candidates = [artifact / TABLE] if artifact else []
    candidates.append(store.scratch_path(task.stage, task.key) / METRICS)
    if last is not None:
        candidates.append(last.path / METRICS)
    return next((path for path in candidates if path.is_file()), None)


def _rows(path: Path | None) -> list[Row]:
    if path is None:
        return []
    if path.suffix == ".jsonl":
        return [Row(r["kind"], r["step"], r["metrics"]) for r in read_rows(path)]
    import pyarrow.parquet as pq

    rows: list[Row] = []
    for row in pq.read_table(path, columns=["kind", "step", "metric", "value"]).to_pylist():
        if not rows or (rows[-1].kind, rows[-1].step) != (row["kind"], row["step"]):
            rows.append(Row(row["kind"], row["step"], {}))
        rows[-1].metrics[row["metric"]] = row["value"]
    return rows


def _started_s(last: Attempt | None) -> float | None:
    from datetime import datetime

    return datetime.fromisoformat(last.record.started).timestamp() if last else None
