"""``candor run`` and ``candor plan``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import executors, options, output, queue, track
from candor.cli.session import Planned, Session, session

if TYPE_CHECKING:
    from candor.executors.base import RunReport
    from candor.executors.display import Display
    from candor.flow.plan import Plan
    from candor.flow.run import Run
    from candor.flow.survey import TaskState

INTERRUPTED = 130


def run(
    ctx: typer.Context,
    experiment: options.Experiment,
    dataset: options.Dataset,
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    until: options.Until = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and what of it is cached; with --on slurm or pbs every script."
        ),
    ] = False,
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    on: options.On = "inline",
    address: options.Address = "",
    dashboard: options.Dashboard = False,
    site: options.Site = "generic",
    site_sets: options.SiteSets = [],  # noqa: B006
    wait: options.Wait = True,
    with_ray: options.WithRay = False,
    nodes: options.Nodes = 1,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Time the steps of every training that runs, and leave Chrome traces."
        ),
    ] = False,
    tracking: track.Track = "offline",
    as_json: options.AsJson = False,
) -> None:
    """Run an experiment on a dataset: only what is not published yet, resuming what was stopped."""
    from candor.flow.survey import survey

    state = session(ctx)
    where = executors.checked(
        executors.Where(on, address, site, tuple(site_sets), wait, with_ray, nodes, dashboard)
    )
    sets = [*sets, "training.profile=true"] if profile else sets
    planned = state.planned(options.request(experiment, dataset, sets, seed, allow), until)
    states = survey(planned.plan, state.store, earlier=state.earlier_plans(planned.plan))
    todo = [s.task.id for s in states if s.state != "cached"]
    if dry_run and where.on in executors.QUEUES and not as_json:
        queue.print_scripts(state, planned, todo, where)
        return
    if dry_run:
        _show_plan(planned, states, as_json=as_json)
        return
    run = open_planned(state, planned)
    if not todo:
        _show_nothing_to_do(state, planned, as_json=as_json)
        if profile:
            output.note(
                "Nothing was trained, so nothing was profiled: `candor profile-train` times the steps of a model."
            )
        return
    _warn_of_corrupted(states)
    track.begin(track.of_run(state, run), tracking)
    if where.on in executors.QUEUES and not where.wait:
        jobs = queue.submit_only(state, planned, run, todo, where)
        if as_json:
            output.as_json({"run": run.id, "outcome": "queued", "jobs": jobs})
        return
    report = execute_planned(state, planned, run, todo, where)
    if as_json:
        output.as_json(_json(state, planned, report))
    elif report.ok:
        from candor.cli import report as final

        output.note(
            f"Run {run.id}: {output.count(len(todo), 'task')} done, {len(states) - len(todo)} published before."
        )
        final.show(planned.plan, state.store)
        if profile:
            from candor.cli import profile_train

            profile_train.show_profiles(planned.plan, state.store, todo)
    exit_if_failed(run, report)


def plan(
    ctx: typer.Context,
    experiment: options.Experiment,
    dataset: options.Dataset,
    sets: options.Sets = [],  # noqa: B006
    until: options.Until = "",
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the plan here.")] = None,
) -> None:
    """Freeze the plan of a run in its folder and print it as JSON, for 'candor task run'."""
    state = session(ctx)
    planned = state.planned(options.request(experiment, dataset, sets, seed, allow), until)
    run = open_planned(state, planned)
    if out is not None:
        planned.plan.write(out)
    sys.stdout.write(planned.plan.model_dump_json(indent=2) + "\n")
    output.note(f"Plan of {run.id}: {out or run.path / 'plan.json'}")


def open_planned(state: Session, planned: Planned) -> Run:
    from candor.errors import ConfigError
    from candor.flow.run import open_run
    from candor.flow.storage import storage_full

    try:
        state.settings.cache_root.mkdir(parents=True, exist_ok=True)
        return open_run(
            state.settings.run_root,
            planned.plan,
            config=planned.config.model_dump(mode="json"),
            origins=planned.origins,
            command=shlex.join(["candor", *state.argv]),
        )
    except OSError as e:
        full = storage_full(e, state.settings.run_root)
        hint = "Point CANDOR_ROOT, CANDOR_CACHE_ROOT and CANDOR_RUN_ROOT to folders that you may write to."
        raise full or ConfigError(f"cannot write: {e.strerror}", place=e.filename, hint=hint) from e


def complete(state: Session, planned: Planned) -> None:
    """Run what of a plan is not published, if anything; a failure ends the process with its code."""
    from candor.flow.survey import survey

    todo = [s.task.id for s in survey(planned.plan, state.store) if s.state != "cached"]
    if todo:
        opened = open_planned(state, planned)
        exit_if_failed(opened, execute_planned(state, planned, opened, todo))


def execute_planned(
    state: Session, planned: Planned, run: Run, todo: list[str], where: executors.Where | None = None
) -> RunReport:
    return execute_tasks(state, planned.plan, run, todo, where or executors.Where())


def execute_tasks(state: Session, plan: Plan, run: Run, todo: list[str], where: executors.Where) -> RunReport:
    from candor.executors.base import execute

    state.store.sweep()
    try:
        with _display(len(todo)) as display:
            if where.with_ray:
                return queue.run_allocation(state, plan, run, todo, where, display)
            with executors.opened(state, display, where) as executor:
                return execute(executor, plan, run, todo)
    except KeyboardInterrupt:
        if where.on in executors.QUEUES and not queue.cancels_on_stop(state, where):
            output.note(f"Stopped waiting; the jobs go on. `candor cancel {run.id}` ends them.")
        else:
            output.note("Stopped. Run the same command to resume.")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _display(total: int) -> Iterator[Display]:
    from candor.executors.display import BarDisplay, PlainDisplay

    console = output.stderr()
    if not console.is_terminal:
        yield PlainDisplay(console, total)
        return
    with BarDisplay(console, total) as bars:
        yield bars


def _show_plan(planned: Planned, states: list[TaskState], *, as_json: bool) -> None:
    cached = sum(s.state == "cached" for s in states)
    if as_json:
        tasks = [
            {"task": s.task.id, "stage": s.task.stage, "key": s.task.key, "state": s.state, "why": s.why}
            for s in states
        ]
        output.as_json({"run": planned.plan.run_id, "cached": cached, "tasks": tasks})
        return
    rows = [(s.task.id, s.task.stage, s.task.key[:12], s.state, s.why or " ") for s in states]
    output.table(["task", "stage", "key", "state", "why"], rows)
    output.say(
        f"Run {planned.plan.run_id}: {len(states)} tasks, {cached} cached, {len(states) - cached} to run."
    )


def _show_nothing_to_do(state: Session, planned: Planned, *, as_json: bool) -> None:
    from candor.cli import report as final

    count, run_id = len(planned.plan.tasks), planned.plan.run_id
    if as_json:
        output.as_json(
            {"run": run_id, "outcome": "cached", "tasks": {}, **final.as_json(planned.plan, state.store)}
        )
        return
    output.say(f"Nothing to do: all {count} tasks of {run_id} are published.")
    final.show(planned.plan, state.store)


def _warn_of_corrupted(states: list[TaskState]) -> None:
    for s in states:
        if s.state == "corrupted":
            output.note(f"The artifact of {s.task.id} is corrupted ({s.why}); it is moved aside and rebuilt.")


def _json(state: Session, planned: Planned, report: RunReport) -> dict[str, Any]:
    from candor.cli import report as final
    from candor.executors.base import Skipped

    tasks: dict[str, Any] = {}
    for task_id, result in report.results.items():
        if isinstance(result, Skipped):
            tasks[task_id] = {"outcome": "skipped", "cause": result.cause}
        else:
            tasks[task_id] = result.record.model_dump(include={"outcome", "duration_s", "reason", "summary"})
    outcome = "succeeded" if report.ok else "failed"
    found = final.as_json(planned.plan, state.store) if report.ok else {}
    return {"run": planned.plan.run_id, "outcome": outcome, "tasks": tasks, **found}


def exit_if_failed(run: Run, report: RunReport) -> None:
    """End with the code of the error if all failures share it, else with that of a failed stage."""
    from candor.errors import StageFailed

    if report.ok:
        return
    for attempt in report.failed:
        record = attempt.record
        hint = f"Read `candor logs {record.task} --run {run.id}`; the same command starts again from there."
        output.error(
            StageFailed(f"{record.task} {record.outcome}: {(record.reason or '').rstrip('.')}", hint=hint)
        )
    codes = {a.record.exit_code for a in report.failed}
    raise typer.Exit((codes.pop() if len(codes) == 1 else None) or StageFailed.exit_code)
