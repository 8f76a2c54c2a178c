"""Entry point of ``candor``. Imports nothing heavy: verbs import what they need when they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from candor.cli import (
    ablate,
    audit,
    budget,
    calibrate,
    clean,
    cluster,
    config,
    data,
    explain,
    folds,
    ingest,
    joint,
    logs,
    output,
    profile,
    profile_train,
    queue,
    run,
    status,
    study,
    tabular,
    task,
    track,
    tune,
)
from candor.cli.session import Session
from candor.cli.workload import IdsWorkload, Workload
from candor.errors import CandorError

# Read by OpenMP when torch is loaded. Threads that spin while they wait starve each other where cores are shared (a
# laptop with a browser, a login node): a 13 s training took 286 s beside two busy processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _Group(TyperGroup):
    """Prints every CandorError of a verb as one line and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CandorError as e:
            output.error(e)
            raise typer.Exit(e.exit_code) from e


def _version(wanted: bool) -> None:
    if wanted:
        from candor import __version__

        output.say(f"candor {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From raw vehicle-bus captures to distilled, honestly evaluated intrusion detectors."""


def build_app() -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command()(run.run)
    app.command()(run.plan)
    app.command()(ablate.ablate)
    app.command()(folds.folds)
    app.command()(joint.joint)
    app.command()(status.status)
    app.command()(logs.logs)
    app.command()(clean.clean)
    app.command()(queue.cancel)
    app.command()(ingest.ingest)
    app.command()(audit.audit)
    app.command()(profile.profile)
    app.command()(tune.tune)
    app.command()(study.study)
    app.command("tune-worker", hidden=True)(tune.tune_worker)
    app.command()(calibrate.calibrate)
    app.command()(tabular.tabular)
    app.command()(explain.explain)
    app.command()(budget.budget)
    app.command("profile-train")(profile_train.profile_train)
    app.add_typer(config.app, name="config")
    app.add_typer(task.app, name="task")
    app.add_typer(cluster.app, name="cluster")
    app.add_typer(data.app, name="data")
    app.add_typer(track.app, name="track")
    return app


def main(argv: Sequence[str] | None = None, *, workload: Workload | None = None) -> None:
    """Run one command and exit.

    Args:
        argv: arguments without the program's name; the process's own by default.
        workload: what ``run`` runs; intrusion detection by default.
    """
    args = sys.argv[1:] if argv is None else list(argv)
    build_app()(args=args, prog_name="candor", obj=Session(workload or IdsWorkload(), tuple(args)))
