"""``candor status``: what ran, and how it went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import Session, session
from candor.errors import CandorError

if TYPE_CHECKING:
    from candor.executors.queue_status import QueueView
    from candor.executors.scheduler import Queued
    from candor.executors.silence import Silence
    from candor.flow.plan import PlannedTask
    from candor.flow.run import Run

#: What a run counts as if one of its tasks is in this state; the first that applies.
_WORST = ("silent", "running", "queued", "suspended", "failed", "killed", "interrupted")


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
    from candor.executors.queue_status import QueueView
    from candor.flow.run import find_run, list_runs

    state, view = session(ctx), QueueView()
    if run_name is not None:
        run = find_run(state.settings.run_root, run_name)
        _show_tasks(run, task_rows(state, run, view), as_json=as_json)
        _tell_trouble(view)
        return
    runs = list_runs(state.settings.run_root)[:limit]
    rows = [_run_row(state, run, info.last_started, view) for run, info in runs]
    _tell_trouble(view)
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


def _tell_trouble(view: QueueView) -> None:
    if view.trouble:
        output.note(f"What the queue knows is missing: {view.trouble}")


def task_rows(state: Session, run: Run, view: QueueView | None = None) -> list[TaskRow]:
    """One row per task of the run's plan: what the records say, and what the cluster's queue knows beyond them."""
    from candor.executors.queue_status import QueueView, skipped_because

    plan, view = run.plan(), view or QueueView()
    live = view.live(run)
    silent = view.silent(run) if live else {}
    rows = [_task_row(state, run, task, view, live.get(task.id), silent) for task in plan.tasks]
    if live or view.trouble or not any(r.attempts for r in rows):
        return rows
    causes = skipped_because(plan, {r.task: r.state for r in rows}) if _was_submitted(run) else {}
    return [
        replace(r, state="skipped", reason=f"{causes[r.task]} failed") if r.task in causes else r
        for r in rows
    ]


def _was_submitted(run: Run) -> bool:
    from candor.executors import ledger

    return bool(ledger.jobs_of(run))


def _task_row(
    state: Session,
    run: Run,
    task: PlannedTask,
    view: QueueView,
    queued: Queued | None,
    silent: Mapping[str, Silence],
) -> TaskRow:
    from candor.executors.queue_status import queue_word, shares_its_job, silent_word

    attempts = view.settle(run, task, [a for a in run.attempts(task.id) if a.record.key == task.key])
    published = state.store.find(task.stage, task.key) is not None
    last = attempts[-1].record if attempts else None
    outcome: str = "cached" if published else "to run"
    if last is not None and published and last.outcome == "succeeded":
        outcome = "succeeded"
    elif last is not None and not published:
        # An artifact that was published and is gone again: a purged cache.
        outcome = "purged" if last.outcome in ("succeeded", "cached") else last.outcome
    reason = last.reason if last and outcome == last.outcome else None
    if queued is not None and not published:
        word, why = queue_word(queued)
        begun = last is not None and last.outcome == "running"
        if word == "running" and not begun and shares_its_job(run, queued):
            word, why = ("queued", f"inside {why}") if last is None else (outcome, reason or why)
        elif queued.job in silent:
            word, why = silent_word(silent[queued.job], run.id)
        outcome, reason = word, why
    return TaskRow(
        task=task.id,
        stage=task.stage,
        state=outcome,
        attempts=len(attempts),
        duration_s=last.duration_s if last else None,
        peak_memory_bytes=last.peak_memory_bytes if last else None,
        reason=reason,
    )


def _run_row(state: Session, run: Run, last_started: str, view: QueueView) -> dict[str, Any]:
    try:
        rows = task_rows(state, run, view)
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
