"""``candor track``: show runs and studies at Weights & Biases, from their records, now or whenever the network is back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from candor.cli import options, output
from candor.cli.output import Column
from candor.cli.session import Session, session
from candor.errors import ConfigError, TrackingUnavailable

if TYPE_CHECKING:
    from candor.flow.run import Run
    from candor.learn.tuning.study import Study
    from candor.tracking.sync import Mode, Synchroniser, TaskSync
    from candor.tracking.tracked import Source

app = typer.Typer(no_args_is_help=True, help="Show runs and studies at Weights & Biases.")

#: ``PID:N`` for a follower: the process that runs the run or the study, and how often the run had finished before.
_FOLLOWS = "CANDOR_FOLLOWS"

#: Who follows a run that has ended is done soon; who follows one that goes on is not waited for.
_PATIENCE_S = 30.0

RunName = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; none takes the latest.")]
StudyName = Annotated[str, typer.Option("--study", metavar="STUDY", help="A study, instead of a run.")]
Project = Annotated[str, typer.Option("--project", help="W&B project, instead of the run's own.")]
Entity = Annotated[str, typer.Option("--entity", help="W&B user or team.")]
Track = Annotated[
    str,
    typer.Option(
        "--track",
        envvar="CANDOR_TRACK",
        metavar="online|offline|off",
        help="Show it at W&B as it goes, later by 'candor track sync', or never.",
    ),
]


@app.command()
def sync(
    ctx: typer.Context,
    run_name: RunName = None,
    study: StudyName = "",
    everything: Annotated[
        bool, typer.Option("--all", help="All runs and studies that are not tracked 'off'.")
    ] = False,
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
    state = session(ctx)
    subjects = _all(state) if everything else [_named(state, run_name, study)]
    told: dict[str, list[TaskSync]] = {}
    for subject in subjects:
        with _synchroniser(subject, project, entity) as synchroniser:
            if dry_run:
                told[subject.name] = synchroniser.pending()
                continue
            with _alone(subject, 0.0 if follow else _PATIENCE_S) as alone:
                if not alone:
                    output.note(f"{subject.name}: another process is sending it.")
                    told[subject.name] = synchroniser.pending()
                elif follow:
                    told[subject.name] = _follow(subject, synchroniser, every_s)
                else:
                    told[subject.name] = _once(subject, synchroniser)
    _show(told, as_json=as_json)
    failed = [t for tasks in told.values() for t in tasks if t.state == "failed"]
    if failed:
        raise typer.Exit(TrackingUnavailable.exit_code)


@app.command()
def status(
    ctx: typer.Context,
    run_name: RunName = None,
    study: StudyName = "",
    project: Project = "",
    entity: Entity = "",
    as_json: options.AsJson = False,
) -> None:
    """How far W&B is behind a run or a study, and what there is to be told of it."""
    subject = _named(session(ctx), run_name, study)
    with _synchroniser(subject, project, entity) as synchroniser:
        _show({subject.name: synchroniser.pending()}, as_json=as_json)


@dataclass(frozen=True)
class Subject:
    """A run or a study, as far as tracking is concerned.

    Attributes:
        path: its folder. command: what sends it, after ``candor``.
        begun, finished: how often it was, as far as it says.
    """

    name: str
    path: Path
    source: Source
    command: tuple[str, ...]
    begun: Callable[[], int]
    finished: Callable[[], int]


def of_run(state: Session, run: Run) -> Subject:
    """A run and its tasks."""
    from candor.tracking.tracked import TrackedRun

    def times(event: str) -> Callable[[], int]:
        return lambda: sum(e["event"] == event for e in run.journal.read())

    command = ("track", "sync", run.id)
    source = TrackedRun(run, state.store)
    return Subject(run.id, run.path, source, command, times("run_started"), times("run_finished"))


def of_study(study: Study) -> Subject:
    """A study and its trials. It is finished once it has them all; a larger ``--trials`` begins it anew."""
    from candor.learn.tuning.tracked import TrackedStudy

    name, source = study.path.name, TrackedStudy(study)

    def finished() -> int:
        return int(sum(t.state != "running" for t in study.trials()) >= study.info().trials)

    return Subject(name, study.path, source, ("track", "sync", "--study", name), lambda: 1, finished)


def _named(state: Session, run_name: str | None, study: str) -> Subject:
    from candor.flow.run import find_run

    root = state.settings.run_root
    if not study:
        return of_run(state, find_run(root, run_name))
    if run_name is not None:
        raise ConfigError("a run and a study are named", place="--study", hint="Name one of them.")
    from candor.learn.tuning.study import find_study

    return of_study(find_study(root, study))


def _all(state: Session) -> list[Subject]:
    """Everything that is not tracked 'off'."""
    from candor.flow.run import list_runs
    from candor.learn.tuning.study import list_studies
    from candor.tracking.sync import tracking_of

    root = state.settings.run_root
    found = [of_run(state, run) for run, _ in list_runs(root)] + [of_study(s) for s in list_studies(root)]
    return [subject for subject in found if tracking_of(subject.path).mode != "off"]


def begin(subject: Subject, mode: str) -> None:
    """What ``--track MODE`` does before the first task or trial: remember it, and start the follower if online.

    The follower is a process of its own that reads files: whatever becomes of it, no training notices.
    Raises ConfigError for another mode.
    """
    from candor.tracking.sync import set_tracking, tracking_of

    chosen = checked(mode)
    known = tracking_of(subject.path)
    project = os.environ.get("WANDB_PROJECT") or known.project
    entity = os.environ.get("WANDB_ENTITY") or known.entity
    try:
        told = known.model_copy(update={"mode": chosen, "project": project, "entity": entity})
        set_tracking(subject.path, told)
        if chosen == "online":
            _start_follower(subject)
            words = " ".join(("candor", "track", "status", *subject.command[2:]))
            output.note(f"W&B: project {project}; `{words}` says how far it is.")
    except OSError as e:
        words = " ".join(("candor", *subject.command))
        output.note(f"{subject.name} goes on untracked ({e}); `{words}` shows it later.")


def _start_follower(subject: Subject) -> None:
    code = "from candor.cli.main import main; main()"
    with (subject.path / "tracking" / "follow.log").open("ab") as told:
        subprocess.Popen(
            [sys.executable, "-c", code, *subject.command, "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
            env={**os.environ, _FOLLOWS: f"{os.getpid()}:{subject.finished()}"},
        )


def checked(text: str) -> Mode:
    """A tracking mode. Raises ConfigError."""
    from candor.tracking.sync import Mode

    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if text == mode:
            return mode
    raise ConfigError(f"no tracking mode '{text}'", place="--track", hint="Choose online, offline or off.")


@contextmanager
def _synchroniser(subject: Subject, project: str, entity: str) -> Iterator[Synchroniser]:
    """The synchroniser of a run or study, closed at the end."""
    from candor.tracking.sync import Synchroniser, tracking_of
    from candor.tracking.tracked import Shown
    from candor.tracking.wandb import Destination, MirroredRun

    tracking, folder = tracking_of(subject.path), subject.source.folder
    to = Destination(project or tracking.project, folder / "client", entity or tracking.entity)

    def open_mirror(task: Shown) -> MirroredRun:
        to.folder.mkdir(parents=True, exist_ok=True)
        return MirroredRun(task, to)

    made = Synchroniser(subject.source, f"{to.entity}/{to.project}", open_mirror)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def _alone(subject: Subject, patience_s: float) -> Iterator[bool]:
    """Whether nobody else sends it by then: two senders would both begin after the last row that W&B has."""
    from candor.flow.locks import held_if_free

    lock, until = subject.source.folder / "send.lock", time.monotonic() + patience_s
    while True:
        with held_if_free(lock) as free:
            if free or time.monotonic() >= until:
                yield free
                return
        time.sleep(0.2)


def _once(subject: Subject, synchroniser: Synchroniser) -> list[TaskSync]:
    done = []
    for task in synchroniser.once():
        done.append(task)
        if task.state != "up to date":
            output.note(f"{subject.name} {task.task}: {task.reason or f'{task.sent_rows} rows sent'}")
    return done


def _follow(subject: Subject, synchroniser: Synchroniser, every_s: float) -> list[TaskSync]:
    """Look again until the run or study has ended (or who started it is gone) and everything is sent."""
    over = _ends(subject)
    while True:
        last_look = over()
        tasks = list(synchroniser.once(keep_open=not last_look))
        if last_look:
            return tasks
        time.sleep(every_s)


def _ends(subject: Subject) -> Callable[[], bool]:
    """Tells whether it is over: it says so once more, or the process that runs it is gone."""
    pid, _, before = os.environ.get(_FOLLOWS, "").partition(":")
    if not pid:
        return lambda: subject.finished() >= subject.begun()
    return lambda: subject.finished() > int(before) or not Path("/proc", pid).exists()


def _show(told: dict[str, list[TaskSync]], *, as_json: bool) -> None:
    if as_json:
        output.as_json({run: [asdict(t) for t in tasks] for run, tasks in told.items()})
        return
    columns: list[Column | str] = [
        "run or study",
        "task or trial",
        "state",
        Column("rows", "", "right"),
        "told",
    ]
    rows = [
        (run, t.task, t.state, str(t.rows), t.reason or "; ".join(a.text for a in t.alerts) or " ")
        for run, tasks in told.items()
        for t in tasks
    ]
    if not rows:
        output.say("Nothing to track yet.")
        return
    output.table(columns, rows)
