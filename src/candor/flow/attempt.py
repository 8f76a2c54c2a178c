"""The record that every attempt at a task leaves, however it ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from candor.config.base import Config
from candor.flow.process import ProcessId
from candor.flow.storage import write_atomic

RECORD, LOG, METRICS = "record.json", "log.txt", "metrics.jsonl"
#: A job script names its job here, so that the scheduler can be asked later how an attempt ended.
JOB_VARIABLE = "CANDOR_JOB"

#: ``killed``: the process ended without a word. ``cached``: another run or process had published the artifact.
Outcome = Literal["running", "succeeded", "failed", "interrupted", "cached", "killed"]


class AttemptRecord(Config):
    """``attempt-N/record.json``.

    Attributes:
        inputs: input name → key of the artifact read.
        started: UTC, ISO 8601. duration_s: by the monotonic clock; in a killed attempt, until its last sign of life.
        peak_memory_bytes: of the process that ran the stage.
        job: the scheduler's name of the job it ran in (``CANDOR_JOB``), e.g. ``123_4``.
        error, exit_code: class of the error, and what a command ended by it exits with.
        metrics: ``metrics.jsonl`` if the attempt left partial metrics beside this record.
    """

    schema_version: int = 1
    run: str
    task: str
    stage: str
    version: int
    key: str
    attempt: int
    config: dict[str, Any]
    inputs: dict[str, str]
    code_version: str
    process: ProcessId
    job: str | None = None
    started: str
    outcome: Outcome = "running"
    duration_s: float | None = None
    peak_memory_bytes: int | None = None
    error: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    traceback: str | None = None
    metrics: str | None = None
    summary: dict[str, Any] | None = None


@dataclass(frozen=True)
class Attempt:
    """An attempt and the folder it wrote its record and log to."""

    path: Path
    record: AttemptRecord

    @property
    def ok(self) -> bool:
        """True if the task's artifact is published."""
        return self.record.outcome in ("succeeded", "cached")

    @property
    def log(self) -> Path:
        """What the stage logged and warned of."""
        return self.path / LOG

    def updated(self, changes: Mapping[str, Any], *, durable: bool = True) -> Attempt:
        """Write the record with ``changes``."""
        record = AttemptRecord.model_validate({**self.record.model_dump(), **changes})
        write_atomic(self.path / RECORD, record.model_dump_json(indent=2), durable=durable)
        return Attempt(self.path, record)


def next_folder(task_dir: Path) -> tuple[int, Path]:
    """Make the folder of the next attempt; two processes never get the same one."""
    task_dir.mkdir(parents=True, exist_ok=True)
    number = max((n for n, _ in _folders(task_dir)), default=0) + 1
    while True:
        path = task_dir / f"attempt-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return number, path


def _folders(task_dir: Path) -> list[tuple[int, Path]]:
    if not task_dir.is_dir():
        return []
    with os.scandir(task_dir) as entries:
        numbered = [
            (e.name.removeprefix("attempt-"), e.path) for e in entries if e.name.startswith("attempt-")
        ]
    return sorted((int(number), Path(path)) for number, path in numbered if number.isdigit())


def read_attempts(task_dir: Path) -> list[Attempt]:
    """All attempts at a task, oldest first. A record that says running, of a process that ended, reads as killed.

    A folder without a readable record is skipped: its process died before it could say anything.
    """
    found = []
    for _, path in _folders(task_dir):
        try:
            record = AttemptRecord.model_validate_json((path / RECORD).read_bytes())
        except (OSError, ValidationError):
            continue
        if record.outcome == "running" and not record.process.is_alive():
            record = record.model_copy(update={"outcome": "killed", "reason": killed_reason(record)})
        found.append(Attempt(path, record))
    return found


def killed_reason(record: AttemptRecord) -> str:
    """What is known of an attempt whose process ended without writing its end."""
    return (
        f"process {record.process.pid} on {record.process.host} ended without a word "
        "(killed, out of memory, or the machine went down)"
    )


def iso_seconds(time: str) -> float:
    """Seconds since 1970 of a record's time."""
    return datetime.fromisoformat(time).timestamp()
