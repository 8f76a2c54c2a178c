"""``candor status`` and ``candor logs``: what ran, how it went, what it said."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import Session, session
from candor.errors import CandorError, NotFound

if TYPE_CHECKING:
    from candor.flow.attempt import Attempt
    from candor.flow.plan import PlannedTask
    from candor.flow.run import Run

_FOLLOW_S = 0.3
#: What a run counts as if one of its tasks is in this state; the first that applies.
_WORST = ("running", "failed", "killed", "interrupted")


@dataclass(frozen=True)
class TaskRow:
    """A task of a run as ``candor status`` shows it. Duration in s; memory in bytes; both of the last attempt."""

    task: str
    stage: str
    state: str
    attempts: int
    duration_s: float | None
    peak_memory_bytes: int | None
    reason: str | None


def status(
    ctx: typer.Context,
    run_name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; none lists all.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="List at most this many runs.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """List runs, the latest first; or the tasks of one run."""
    from candor.flow.run import find_run, list_runs

    state = session(ctx)
    if run_name is not None:
        run = find_run(state.settings.run_root, run_name)
        _show_tasks(run, task_rows(state, run), as_json=as_json)
        return
    runs = list_runs(state.settings.run_root)[:limit]
    rows = [_run_row(state, run, info.last_started) for run, info in runs]
    if as_json:
        output.as_json(rows)
    elif not rows:
        output.say("No runs yet. Start one with `candor run`.")
    else:
        columns: list[Column | str] = [
            "run",
            "state",
            Column("published", "tasks", "right"),
            Column("last started", "UTC"),
            "reason",
        ]
        shown = [
            (
                r["run"],
                r["state"],
                f"{r['published']}/{r['tasks']}",
                r["last_started"][:19].replace("T", " "),
                r["reason"] or " ",
            )
            for r in rows
        ]
        output.table(columns, shown)


def task_rows(state: Session, run: Run) -> list[TaskRow]:
    """One row per task of the run's plan."""
    return [_task_row(state, run, task) for task in run.plan().tasks]


def _task_row(state: Session, run: Run, task: PlannedTask) -> TaskRow:
    attempts = [a for a in run.attempts(task.id) if a.record.key == task.key]
    published = state.store.find(task.stage, task.key) is not None
    last = attempts[-1].record if attempts else None
    outcome: str = "cached" if published else "to run"
    if last is not None and published and last.outcome == "succeeded":
        outcome = "succeeded"
    elif last is not None and not published:
        # An artifact that was published and is gone again: a purged cache.
        outcome = "purged" if last.outcome in ("succeeded", "cached") else last.outcome
    failed = last is not None and outcome == last.outcome
    return TaskRow(
        task=task.id,
        stage=task.stage,
        state=outcome,
        attempts=len(attempts),
        duration_s=last.duration_s if last else None,
        peak_memory_bytes=last.peak_memory_bytes if last else None,
        reason=last.reason if last and failed else None,
    )


def _run_row(state: Session, run: Run, last_started: str) -> dict[str, Any]:
    try:
        rows = task_rows(state, run)
    except CandorError as e:  # One unreadable plan must not hide the other runs.
        return {
            "run": run.id,
            "state": "unreadable",
            "tasks": 0,
            "published": 0,
            "last_started": last_started,
            "reason": str(e),
        }
    states = Counter(r.state for r in rows)
    done = states["succeeded"] + states["cached"]
    word = "succeeded" if done == len(rows) else next((w for w in _WORST if states[w]), "incomplete")
    failed = next((r for r in rows if r.state == word and word in _WORST), None)
    return {
        "run": run.id,
        "state": word,
        "tasks": len(rows),
        "published": done,
        "last_started": last_started,
        "reason": f"{failed.task}: {failed.reason}"
        if failed and failed.reason
        else (failed.task if failed else None),
    }


def _show_tasks(run: Run, rows: Sequence[TaskRow], *, as_json: bool) -> None:
    if as_json:
        output.as_json({"run": run.id, "tasks": [asdict(r) for r in rows]})
        return
    columns: list[Column | str] = [
        "task",
        "stage",
        "state",
        Column("attempts", "", "right"),
        Column("duration", "s", "right"),
        Column("peak memory", "MB", "right"),
        "reason",
    ]
    shown = [
        (
            r.task,
            r.stage,
            r.state,
            r.attempts,
            None if r.duration_s is None else f"{r.duration_s:.1f}",
            None if r.peak_memory_bytes is None else f"{r.peak_memory_bytes / 1e6:.0f}",
            r.reason or " ",
        )
        for r in rows
    ]
    output.table(columns, shown, title=run.id)


def logs(
    ctx: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="ID of the task.", show_default=False)],
    run_name: Annotated[str | None, typer.Option("--run", help="The run; the latest by default.")] = None,
    number: Annotated[
        int | None, typer.Option("--attempt", min=1, help="The attempt; the last by default.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing until the attempt ends.")
    ] = False,
) -> None:
    """Print what an attempt at a task logged, and how it ended."""
    from candor.flow.run import find_run

    state = session(ctx)
    run = find_run(state.settings.run_root, run_name)
    attempt = _find_attempt(state, run, task_id, number)
    output.note(f"{attempt.record.run}, {task_id}, attempt {attempt.record.attempt}: {attempt.log}")
    _print_log(attempt, follow=follow)
    ended = _again(attempt)
    reason = f": {ended.record.reason}" if ended.record.reason else ""
    output.note(f"{ended.record.outcome}{reason}")


def _find_attempt(state: Session, run: Run, task_id: str, number: int | None) -> Attempt:
    """The attempt asked for; if this run found the artifact published, the attempt that made it."""
    from candor.flow.run import list_runs

    task = run.plan().task(task_id)
    attempts = run.attempts(task_id)
    if number is not None:
        for attempt in attempts:
            if attempt.record.attempt == number:
                return attempt
        known = ", ".join(str(a.record.attempt) for a in attempts) or "none"
        raise NotFound(f"{task_id} has no attempt {number}", place=run.id, hint=f"Attempts: {known}.")
    if attempts:
        return attempts[-1]
    for other, _ in list_runs(state.settings.run_root):
        made = [a for a in other.attempts(task_id) if a.record.key == task.key]
        if made:
            return made[-1]
    raise NotFound(f"{task_id} was not tried yet", place=run.id)


def _again(attempt: Attempt) -> Attempt:
    """The attempt as its record reads now."""
    from candor.flow.attempt import read_attempts

    return next((a for a in read_attempts(attempt.path.parent) if a.path == attempt.path), attempt)


def _print_log(attempt: Attempt, *, follow: bool) -> None:
    if not attempt.log.exists() and not follow:
        return
    while follow and not attempt.log.exists() and _again(attempt).record.outcome == "running":
        time.sleep(_FOLLOW_S)
    with attempt.log.open(encoding="utf-8", errors="replace") as f:
        while True:
            # Look before reading: what was written before the end must still be printed.
            running = follow and _again(attempt).record.outcome == "running"
            sys.stdout.write(f.read())
            sys.stdout.flush()
            if not running:
                return
            time.sleep(_FOLLOW_S)
