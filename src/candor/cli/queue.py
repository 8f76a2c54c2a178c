"""What the command line does with a cluster's queue: open the executor, print scripts, submit without waiting."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import Planned, Session, session

if TYPE_CHECKING:
    from candor.cli.executors import Where
    from candor.executors.base import RunReport
    from candor.executors.display import Display
    from candor.executors.queue import QueueExecutor
    from candor.flow.plan import Plan
    from candor.flow.run import Run


@contextmanager
def opened(state: Session, display: Display, where: Where) -> Iterator[QueueExecutor]:
    """The executor of the site that ``where`` names."""
    yield executor(state, display, where)


def executor(state: Session, display: Display, where: Where) -> QueueExecutor:
    """Raises ConfigError if the site cannot be submitted to."""
    from candor.executors.queue import QueueExecutor
    from candor.executors.scheduler import scheduler_named
    from candor.executors.site import check_submittable, load_site

    site = load_site(where.site, data_root=state.settings.data_root, sets=where.site_sets)
    check_submittable(where.site, site, where.on)
    words, venv = program()
    return QueueExecutor(state.store, site, roots(state), words, venv, display, scheduler_named(where.on))


def cancels_on_stop(state: Session, where: Where) -> bool:
    """Whether the site's jobs end when waiting for them is interrupted."""
    from candor.executors.site import load_site

    site = load_site(where.site, data_root=state.settings.data_root, sets=where.site_sets)
    return site.on_stop == "cancel" and not where.with_ray


def roots(state: Session) -> dict[str, str]:
    """The three roots as variables: a node must not guess them from another home or scratch."""
    return {f"CANDOR_{name.upper()}": str(path) for name, path in state.settings.model_dump().items()}


def program() -> tuple[list[str], str]:
    """Words that call this very program on a node, and the virtual environment it runs in (empty: none)."""
    venv = sys.prefix if sys.prefix != sys.base_prefix else ""
    script = Path(sys.argv[0])
    return (["candor"] if script.name == "candor" else [sys.executable, str(script.resolve())]), venv


def print_scripts(state: Session, planned: Planned, todo: list[str], where: Where) -> None:
    """Every script that would be submitted, and what it would wait for."""
    from candor.executors.display import Quiet
    from candor.flow.run import Run

    run = Run(state.settings.run_root / "runs" / planned.plan.run_id)
    queue = executor(state, Quiet(), where)
    if queue.site.note:
        output.note(f"{where.site}: {queue.site.note}")
    if where.with_ray:
        from candor.executors.ray_allocation import script

        sys.stdout.write(script(queue, run, nodes=where.nodes))
        return
    submissions = list(queue.scripts(planned.plan, run, todo))
    for submission in submissions:
        waits = [f"all of {task}" for task in submission.after] + [
            f"the element of the same index of {head}" for head in submission.paired
        ]
        output.say(f"# ---- {submission.batch.head}.sh, after {', '.join(waits) or 'nothing'}")
        sys.stdout.write(submission.script)
    output.note(
        f"{output.count(len(submissions), 'script')} for {output.count(len(todo), 'task')}; nothing was submitted."
    )


def submit_only(state: Session, planned: Planned, run: Run, todo: list[str], where: Where) -> dict[str, str]:
    """Queue what is not queued yet and say what to do next; task ID → job."""
    from candor.executors.display import Quiet

    queue = executor(state, Quiet(), where)
    run.journal.append("run_started", executor=where.on, todo=len(todo), tasks=len(planned.plan.tasks))
    if where.with_ray:
        from candor.executors.ray_allocation import submit

        job, fresh = submit(queue, planned.plan, run, todo, nodes=where.nodes)
        output.note(
            f"Run {run.id}: {'job' if fresh else 'already queued as job'} {job} will do {len(todo)} tasks."
        )
        return dict.fromkeys(todo, job)
    for task_id in todo:
        queue.submit(planned.plan, run, task_id, ())
    jobs = queue.flush()
    output.note(
        f"Run {run.id}: {output.count(len(jobs), 'task')} in the queue as "
        f"{output.count(len({j.split('_')[0] for j in jobs.values()}), 'job')}. "
        f"`candor status {run.id}` shows how far it is, `candor cancel {run.id}` ends it."
    )
    return jobs


def run_allocation(
    state: Session, plan: Plan, run: Run, todo: list[str], where: Where, display: Display
) -> RunReport:
    """Queue the allocation that boots Ray, or join it, and wait for it."""
    from candor.executors import ray_allocation
    from candor.executors.signals import stop_on_sigterm

    queue = executor(state, display, where)
    job, fresh = ray_allocation.submit(queue, plan, run, todo, nodes=where.nodes)
    output.note(f"{'Queued' if fresh else 'Joined'} job {job}.")
    with stop_on_sigterm():
        return ray_allocation.wait(queue, plan, run, todo, job)


def cancel(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="RUN|STUDY", help="The run, or the study.", show_default=False)
    ],
    as_json: options.AsJson = False,
) -> None:
    """Take the jobs of a run or a study off the queue of the cluster; what runs writes its checkpoint first."""
    from candor.executors.cancelling import cancel as cancel_run
    from candor.executors.ledger import was_queued
    from candor.executors.scheduler import scheduler_here
    from candor.executors.worker_array import cancel_workers
    from candor.flow.run import find_run

    root, scheduler = session(ctx).settings.run_root, scheduler_here(60.0)
    study = root / "studies" / name
    if (study / "study.json").is_file() and not (root / "runs" / name).is_dir():
        workers = cancel_workers(study, scheduler)
        told = f"{output.count(len(workers), 'worker')} of {name}" if workers else ""
        _tell_cancelled(told, f"No worker of {name}", {"study": name, "cancelled": workers}, as_json=as_json)
        return
    run = find_run(root, name)
    queued = was_queued(run)
    ended = cancel_run(run, scheduler) if queued else {}
    if not queued:  # A laptop has no scheduler that could be asked.
        output.note(
            f"{run.id} was never queued. A run inline or on Ray ends with Ctrl-C, or SIGTERM, where it goes on."
        )
    told = f"{output.count(len(ended), 'task')} of {run.id}: {', '.join(ended)}" if ended else ""
    _tell_cancelled(told, f"No job of {run.id}", {"run": run.id, "cancelled": ended}, as_json=as_json)


def _tell_cancelled(told: str, none: str, facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        output.as_json(facts)
    else:
        output.say(f"Cancelled {told}." if told else f"{none} waits or runs.")
