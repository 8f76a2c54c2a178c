"""``candor task run``: one task of a frozen plan, as every executor calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candor.cli import options, output
from candor.cli.session import session

app = typer.Typer(help="Run single tasks of a plan.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Run single tasks of a plan."""


@app.command("run")
def run_one(
    ctx: typer.Context,
    plan_path: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="Plan from `candor plan`.")],
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="ID of the task.")],
    as_json: options.AsJson = False,
) -> None:
    """Run one task, unless it is published. Its inputs must be."""
    import os

    from candor.cli.run import INTERRUPTED
    from candor.cluster.staging import staged_in
    from candor.errors import StageFailed
    from candor.executors.signals import stop_on_sigterm
    from candor.flow.plan import read_plan
    from candor.flow.run import Run
    from candor.flow.stage import LazyStages
    from candor.flow.task import STAGE_IN_VARIABLE, run_task
    from candor.tracking.device import DeviceRecorder

    state = session(ctx)
    plan = read_plan(plan_path)
    task = plan.task(task_id)
    run = Run(state.settings.run_root / "runs" / plan.run_id)
    run.path.mkdir(parents=True, exist_ok=True)
    settings = state.settings
    nearer = staged_in(os.environ.get(STAGE_IN_VARIABLE, ""), settings.data_root, settings.cache_root)
    try:
        with stop_on_sigterm(), nearer as stage_in:
            attempt = run_task(
                plan,
                task.id,
                stages=LazyStages(state.workload.stages),
                store=state.store,
                run=run,
                recorder_factory=DeviceRecorder,
                stage_in=stage_in,
            )
    except KeyboardInterrupt:
        output.note("Stopped. Run the same command to resume.")
        raise typer.Exit(INTERRUPTED) from None
    record = attempt.record
    if as_json:
        output.as_json(record.model_dump(mode="json"))
    elif attempt.ok:
        output.say(f"{task.id} {record.outcome}: {state.store.path(task.stage, task.key)}")
    if not attempt.ok:
        output.error(
            StageFailed(
                f"{task.id} {record.outcome}: {(record.reason or '').rstrip('.')}", place=str(attempt.path)
            )
        )
        raise typer.Exit(record.exit_code or StageFailed.exit_code)


@app.command("run-plan")
def run_all(
    ctx: typer.Context,
    plan_path: Annotated[Path, typer.Argument(metavar="PLAN.JSON", help="Plan from `candor plan`.")],
    on: options.On = "inline",
    address: options.Address = "",
) -> None:
    """Run every task of a frozen plan that is not published yet, as `candor run` does."""
    from candor.cli import executors
    from candor.cli.run import execute_tasks, exit_if_failed
    from candor.flow.plan import read_plan
    from candor.flow.run import Run
    from candor.flow.survey import survey

    state = session(ctx)
    plan = read_plan(plan_path)
    run = Run(state.settings.run_root / "runs" / plan.run_id)
    run.path.mkdir(parents=True, exist_ok=True)
    todo = [s.task.id for s in survey(plan, state.store) if s.state != "cached"]
    if not todo:
        output.say(f"Nothing to do: all {len(plan.tasks)} tasks are published.")
        return
    exit_if_failed(
        run, execute_tasks(state, plan, run, todo, executors.checked(executors.Where(on, address)))
    )
