"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candor.cli.executors import EXECUTORS
from candor.cli.workload import Request
from candor.errors import ConfigError

Experiment = Annotated[str, typer.Argument(help="Experiment preset, e.g. kd.", show_default=False)]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset preset, e.g. hcrl_sa.", show_default=False)
]
DatasetName = Annotated[str, typer.Argument(help="Dataset preset, e.g. hcrl_sa.", show_default=False)]
Via = Annotated[str, typer.Option("--experiment", "-e", help="Experiment whose windows and splits count.")]
Sets = Annotated[
    list[str], typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one config value; repeatable.")
]
Seeds = Annotated[
    str, typer.Option("--seed", metavar="1,2,3", help="Seeds to train with, instead of the preset's.")
]
Allow = Annotated[
    list[str], typer.Option("--allow", metavar="FINDING", help="Run despite this audit finding; repeatable.")
]
DbcFile = Annotated[
    Path | None,
    typer.Option("--dbc", help="DBC file that names messages and signals of the bus.", show_default=False),
]
Until = Annotated[str, typer.Option("--until", metavar="STAGE", help="Stop after this stage or task.")]
On = Annotated[str, typer.Option("--on", help=f"Where the tasks run: {', '.join(EXECUTORS)}.")]
Address = Annotated[
    str,
    typer.Option(
        "--address", metavar="HOST:PORT", help="An existing Ray cluster for --on ray; else RAY_ADDRESS."
    ),
]
Dashboard = Annotated[
    bool,
    typer.Option(
        "--dashboard", help="With --on ray: Ray's dashboard, on loopback and behind the run's token."
    ),
]
Site = Annotated[str, typer.Option("--site", help="Site preset for --on slurm or pbs, e.g. osc_ascend.")]
SiteSets = Annotated[
    list[str],
    typer.Option("--site-set", metavar="KEY=VALUE", help="Change one value of the site; repeatable."),
]
Wait = Annotated[
    bool,
    typer.Option("--wait/--no-wait", help="With --on slurm or pbs: wait for the jobs, or only queue them."),
]
WithRay = Annotated[
    bool,
    typer.Option(
        "--with-ray", help="With --on slurm or pbs: one allocation that boots Ray and runs all tasks inside."
    ),
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Nodes of the allocation of --with-ray.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def request(
    experiment: str, dataset: str, sets: list[str] | None, seed: str, allow: list[str] | None
) -> Request:
    """The request behind the shared arguments. Raises ConfigError for seeds that are no whole numbers."""
    seeds: list[int] | None = None
    if seed:
        try:
            seeds = [int(part) for part in seed.split(",") if part.strip()]
        except ValueError as e:
            raise ConfigError(
                f"cannot read the seeds '{seed}'", place="--seed", hint="Write them as 1,2,3."
            ) from e
        if not seeds:
            raise ConfigError(f"no seed in '{seed}'", place="--seed", hint="Write them as 1,2,3.")
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"a seed is named twice in '{seed}'", place="--seed")
    return Request(experiment, dataset, list(sets or []), seeds, list(allow or []))
