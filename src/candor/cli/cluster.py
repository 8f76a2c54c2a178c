"""``candor cluster``: what jobs call on their nodes, and what they left to read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import cluster_doctor, cluster_files, options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.flow.attempt import Attempt

_AtMost = Annotated[
    int, typer.Option("--at-most", help="Continuations since a person submitted it (max_requeues).")
]

app = typer.Typer(help="Jobs of a cluster.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Jobs of a cluster."""


app.command("doctor")(cluster_doctor.doctor)
app.command("sync")(cluster_files.sync)
app.command("stage")(cluster_files.stage)


@app.command("resubmit", hidden=True)
def resubmit(
    ctx: typer.Context,
    plan_path: Annotated[Path, typer.Argument(metavar="PLAN.JSON")],
    task_id: Annotated[str, typer.Argument(metavar="TASK")],
    script: Annotated[Path, typer.Argument(metavar="SCRIPT")],
    at_most: _AtMost = 50,
) -> None:
    """Queue the successor of a job that its site does not let requeue; what waits for the job then waits for it."""
    from candor.executors.resubmit import resubmit as submit_again
    from candor.executors.scheduler import scheduler_here
    from candor.flow.plan import read_plan
    from candor.flow.run import Run

    plan = read_plan(plan_path)
    run = Run(session(ctx).settings.run_root / "runs" / plan.run_id)
    number = os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ.get("PBS_ARRAY_INDEX") or ""
    job = submit_again(plan, run, task_id, script, scheduler_here(30.0), number=number, at_most=at_most)
    output.say(f"{task_id} goes on as job {job}.")


@app.command("resubmit-allocation", hidden=True)
def resubmit_allocation(
    ctx: typer.Context,
    plan_path: Annotated[Path, typer.Argument(metavar="PLAN.JSON")],
    script: Annotated[Path, typer.Argument(metavar="SCRIPT")],
    at_most: _AtMost = 50,
) -> None:
    """Queue the successor of the allocation that runs a plan on Ray; whoever waits for it, and `cancel`, then know it."""
    from candor.executors.ray_allocation import go_on
    from candor.executors.scheduler import scheduler_here
    from candor.flow.plan import read_plan
    from candor.flow.run import Run

    run = Run(session(ctx).settings.run_root / "runs" / read_plan(plan_path).run_id)
    output.say(f"{run.id} goes on as job {go_on(run, script, scheduler_here(30.0), at_most=at_most)}.")


@app.command("epilog")
def epilog(
    ctx: typer.Context,
    plan_path: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="Plan of the run.")],
    task_id: Annotated[
        str, typer.Argument(metavar="TASK", help="ID of the task; 'ray' for the allocation of --with-ray.")
    ],
    job: Annotated[str, typer.Option("--job", help="Its job; the last one by default.")] = "",
    as_json: options.AsJson = False,
) -> None:
    """What a job asked for and what it used: GPUs, memory, waiting for disks, time; and what to ask for next time."""
    from candor.cluster import epilog as report
    from candor.executors import ledger
    from candor.executors.ray_allocation import HEAD
    from candor.executors.scheduler import scheduler_here
    from candor.flow.plan import read_plan
    from candor.flow.run import Run

    plan = read_plan(plan_path)
    whole = task_id == HEAD and HEAD not in {t.id for t in plan.tasks}
    tasks = plan.tasks if whole else (plan.task(task_id),)
    run = Run(session(ctx).settings.run_root / "runs" / plan.run_id)
    job = job or ledger.jobs_of(run).get(task_id, "")
    inside = os.environ.get("CANDOR_JOB") == job != ""
    # A job that is about to end is in no account yet, and what waits for it should not wait for the database.
    rows = [] if inside or not job else scheduler_here(30.0).accounting([job])
    if inside:
        memory, limit, cpus = scheduler_here(1.0).own_request(job)
    else:
        memory, limit, cpus = (
            (rows[-1].memory_bytes, rows[-1].limit_s, rows[-1].cpus) if rows else (None,) * 3
        )
    asked = report.Asked(memory_bytes=memory, limit_s=limit, cpus=cpus)
    attempts = [a for task in tasks for a in run.attempts(task.id) if not job or a.record.job == job]
    samples = run.path / scheduler_here().words.scheduler / f"job-{job}.samples"
    found = report.measure(
        task=task_id,
        job=job,
        asked=asked,
        attempts=[a.record for a in attempts],
        samples=samples.read_text(encoding="utf-8", errors="replace") if samples.is_file() else "",
        scheduler_peak_bytes=rows[-1].peak_memory_bytes if rows else None,
        elapsed_s=rows[-1].elapsed_s if rows else _span_s(attempts) if whole else None,
        cpu_s=rows[-1].cpu_s if rows else None,
    )
    if as_json:
        output.as_json(found.model_dump(mode="json"))
        return
    for line in report.lines(found, stage=HEAD if whole else tasks[0].stage):
        output.say(line)


def _span_s(attempts: Sequence[Attempt]) -> float | None:
    """From the first beginning to the last end, in s: tasks of an allocation run side by side."""
    from candor.flow.attempt import iso_seconds

    begun = [(iso_seconds(a.record.started), a.record.duration_s or 0.0) for a in attempts]
    return max(b + d for b, d in begun) - min(b for b, _ in begun) if begun else None
