"""``candor track``: show runs at Weights & Biases, from their records, now or whenever the network is back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import Session, session
from candor.errors import ConfigError, TrackingUnavailable

if TYPE_CHECKING:
    from candor.flow.run import Run
    from candor.tracking.sync import Mode, Synchroniser, TaskSync

app = typer.Typer(no_args_is_help=True, help="Show runs at Weights & Biases.")

#: ``PID:N`` for a follower: the process that runs the run, and how often the run had finished before.
_FOLLOWS = "CANDOR_FOLLOWS"

RunName = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; none takes the latest.")]
Project = Annotated[str, typer.Option("--project", help="W&B project, instead of the run's own.")]
Entity = Annotated[str, typer.Option("--entity", help="W&B user or team.")]
Track = Annotated[
    str,
    typer.Option(
        "--track",
        envvar="CANDOR_TRACK",
        metavar="online|offline|off",
        help="Show the run at W&B as it goes, later by 'candor track sync', or never.",
    ),
]


@app.command()
def sync(
    ctx: typer.Context,
    run_name: RunName = None,
    everything: Annotated[bool, typer.Option("--all", help="All runs that are not tracked 'off'.")] = False,
    project: Project = "",
    entity: Entity = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends, every few seconds.")
    ] = False,
    every_s: Annotated[float, typer.Option("--every-s", min=0.1, help="Seconds between looks.")] = 15.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Send what W&B does not have yet. Safe to stop and to repeat: nothing is sent twice, nothing is lost."""
    from candor.flow.run import find_run, list_runs
    from candor.tracking.sync import tracking_of

    state = session(ctx)
    if everything:
        runs = [r for r, _ in list_runs(state.settings.run_root) if tracking_of(r).mode != "off"]
    else:
        runs = [find_run(state.settings.run_root, run_name)]
    told: dict[str, list[TaskSync]] = {}
    for run in runs:
        with _synchroniser(state, run, project, entity) as synchroniser:
            if dry_run:
                told[run.id] = synchroniser.pending()
            elif follow:
                told[run.id] = _follow(run, synchroniser, every_s)
            else:
                told[run.id] = _once(run, synchroniser)
    _show(told, as_json=as_json)
    failed = [t for tasks in told.values() for t in tasks if t.state == "failed"]
    if failed:
        raise typer.Exit(TrackingUnavailable.exit_code)


@app.command()
def status(
    ctx: typer.Context,
    run_name: RunName = None,
    project: Project = "",
    entity: Entity = "",
    as_json: options.AsJson = False,
) -> None:
    """How far W&B is behind a run, and what there is to be told of it."""
    from candor.flow.run import find_run

    state = session(ctx)
    run = find_run(state.settings.run_root, run_name)
    with _synchroniser(state, run, project, entity) as synchroniser:
        _show({run.id: synchroniser.pending()}, as_json=as_json)


def begin(state: Session, run: Run, mode: str) -> None:
    """What ``candor run --track MODE`` does before the first task: remember it, and start the follower if online.

    The follower is a process of its own that reads files: whatever becomes of it, no training notices.
    Raises ConfigError for another mode.
    """
    from candor.tracking.sync import set_tracking, tracking_of

    chosen = _mode(mode)
    known = tracking_of(run)
    project = os.environ.get("WANDB_PROJECT") or known.project
    entity = os.environ.get("WANDB_ENTITY") or known.entity
    try:
        set_tracking(run, known.model_copy(update={"mode": chosen, "project": project, "entity": entity}))
        if chosen == "online":
            _start_follower(run)
            output.note(f"W&B: project {project}; `candor track status {run.id}` says how far it is.")
    except OSError as e:
        output.note(f"The run goes on untracked ({e}); `candor track sync {run.id}` shows it later.")


def _start_follower(run: Run) -> None:
    code = "from candor.cli.main import main; main()"
    with (run.path / "tracking" / "follow.log").open("ab") as told:
        subprocess.Popen(
            [sys.executable, "-c", code, "track", "sync", run.id, "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
            env={**os.environ, _FOLLOWS: f"{os.getpid()}:{_times_finished(run)}"},
        )


def _mode(text: str) -> Mode:
    from candor.tracking.sync import Mode

    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if text == mode:
            return mode
    raise ConfigError(f"no tracking mode '{text}'", place="--track", hint="Choose online, offline or off.")


@contextmanager
def _synchroniser(state: Session, run: Run, project: str, entity: str) -> Iterator[Synchroniser]:
    """The synchroniser of a run, closed at the end."""
    from candor.tracking.sync import Synchroniser, tracking_of
    from candor.tracking.tracked import TrackedTask
    from candor.tracking.wandb import Destination, MirroredRun

    tracking = tracking_of(run)
    to = Destination(project or tracking.project, run.path / "tracking" / "client", entity or tracking.entity)

    def open_mirror(task: TrackedTask) -> MirroredRun:
        to.folder.mkdir(parents=True, exist_ok=True)
        return MirroredRun(task, to)

    made = Synchroniser(run, state.store, f"{to.entity}/{to.project}", open_mirror)
    try:
        yield made
    finally:
        made.close()


def _once(run: Run, synchroniser: Synchroniser) -> list[TaskSync]:
    done = []
    for task in synchroniser.once():
        done.append(task)
        if task.state != "up to date":
            output.note(f"{run.id} {task.task}: {task.reason or f'{task.sent_rows} rows sent'}")
    return done


def _follow(run: Run, synchroniser: Synchroniser, every_s: float) -> list[TaskSync]:
    """Look again until the run has ended (or who started it is gone) and everything is sent."""
    over = _ends(run)
    while True:
        last_look = over()
        tasks = list(synchroniser.once(keep_open=not last_look))
        if last_look:
            return tasks
        time.sleep(every_s)


def _ends(run: Run) -> Callable[[], bool]:
    """Tells whether the run is over: its journal says so once more, or the process that runs it is gone."""
    pid, _, before = os.environ.get(_FOLLOWS, "").partition(":")
    if not pid:
        return lambda: _times_finished(run) >= _times(run, "run_started")
    return lambda: _times_finished(run) > int(before) or not Path("/proc", pid).exists()


def _times_finished(run: Run) -> int:
    return _times(run, "run_finished")


def _times(run: Run, event: str) -> int:
    return sum(e["event"] == event for e in run.journal.read())


def _show(told: dict[str, list[TaskSync]], *, as_json: bool) -> None:
    if as_json:
        output.as_json({run: [asdict(t) for t in tasks] for run, tasks in told.items()})
        return
    columns: list[Column | str] = ["run", "task", "state", Column("rows", "", "right"), "told"]
    rows = [
        (run, t.task, t.state, str(t.rows), t.reason or "; ".join(a.text for a in t.alerts) or " ")
        for run, tasks in told.items()
        for t in tasks
    ]
    if not rows:
        output.say("Nothing to track yet.")
        return
    output.table(columns, rows)
