"""How a scheduler ended a job, in the words of an attempt record, and what to change next. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candor.executors.scheduler import Accounted

#: States in which a job will do nothing more by itself.
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)


@dataclass(frozen=True)
class Ending:
    """``error`` and ``reason`` for the record of an attempt that could not write its own end."""

    outcome: Literal["killed", "interrupted"]
    error: str
    reason: str


def ending(job: Accounted, *, stage: str, resumes: bool = False) -> Ending:
    """Why ``job`` ended, and the next step.

    Args:
        stage: of the task; names the setting to change.
        resumes: the attempt was stopped in order and left a checkpoint.
    """
    outcome: Literal["killed", "interrupted"] = "interrupted" if resumes else "killed"
    state = job.state
    if state == "OUT_OF_MEMORY" or _over_memory(job):
        asked = _gb(job.memory_bytes)
        peak = f", the scheduler saw {_gb(job.peak_memory_bytes)}" if job.peak_memory_bytes else ""
        more = max(1.0, 1.5 * max(job.memory_bytes or 0, job.peak_memory_bytes or 0) / 1024**3)
        return Ending(
            outcome,
            "OutOfMemory",
            f"job {job.job} ran out of memory on {job.nodes} (asked for {asked}{peak}); "
            f"ask for more: --site-set stages.{stage}.memory_gb={more:.0f}",
        )
    if state in ("TIMEOUT", "DEADLINE"):
        minutes = round((job.limit_s or job.elapsed_s) / 60)
        return Ending(
            outcome,
            "TimeLimit",
            f"job {job.job} reached its time limit of {minutes} min; the same command goes on from the last checkpoint, "
            f"and --site-set stages.{stage}.time_limit_min={2 * max(1, minutes)} gives it more",
        )
    if state in ("NODE_FAIL", "BOOT_FAIL"):
        return Ending(
            outcome,
            "NodeFailure",
            f"node {job.nodes} of job {job.job} went down; nothing to change, the same command goes on from the last checkpoint",
        )
    if state == "PREEMPTED":
        return Ending(
            outcome,
            "Preempted",
            f"job {job.job} gave way to one of higher priority; the same command goes on from the last checkpoint",
        )
    if state == "REQUEUED":
        return Ending(
            outcome,
            "Requeued",
            f"job {job.job} went back to the queue after {job.elapsed_s:.0f} s on {job.nodes} (time limit near, preempted, "
            "or its node went down) and goes on from the last checkpoint",
        )
    if state == "CANCELLED":
        return Ending(outcome, "Cancelled", f"job {job.job} was cancelled; the same command goes on")
    return Ending(
        outcome,
        "Killed",
        f"job {job.job} ended as {state} (exit code {job.exit_code}) on {job.nodes or 'no node'} without a word of the task; "
        "read the job's output",
    )


def _over_memory(job: Accounted) -> bool:
    """Sites without cgroups cancel what uses too much, and do not say why."""
    cancelled = job.state in ("CANCELLED", "FAILED") and job.exit_code in (0, 9, 15, 137, 143)
    return cancelled and (job.peak_memory_bytes or 0) > (job.memory_bytes or float("inf"))


def _gb(size: int | None) -> str:
    return "the default" if size is None else f"{size / 1024**3:.2g} GB"
