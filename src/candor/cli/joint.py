"""``candor joint``: one classifier over several data sets, a bus and a network say, beside one for each of them alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output, report, run
from candor.cli.session import Planned, Session, session

if TYPE_CHECKING:
    from candor.ids.config import ExperimentConfig

_METRICS = ("f1", "auroc", "auc_pr")


def joint(
    ctx: typer.Context,
    datasets: Annotated[
        list[str],
        typer.Argument(help="Dataset presets, two or more, e.g. hcrl_sa unsw_nb15.", show_default=False),
    ],
    experiment: options.Via = "kd",
    variant: Annotated[
        str, typer.Option("--variant", help="Variant whose classifier is trained.")
    ] = "student",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    as_json: options.AsJson = False,
) -> None:
    """Train one classifier on several datasets, whatever their domains, and compare it with one for each alone.

    Every dataset has its own projection of features to the hidden width; the convolutions, the pooling and the classifier are
    shared. Settings hold for all of the datasets.
    """
    from candor.flow.plan import render
    from candor.ids.config import JointConfig
    from candor.ids.pipeline import joint

    state = session(ctx)
    configs: dict[str, ExperimentConfig] = {}
    origins: dict[str, str] = {}
    for dataset in datasets:
        configs[dataset], of = _resolved(state, experiment, dataset, sets, seed, allow)
        origins |= {f"experiments.{dataset}.{key}": origin for key, origin in of.items()}
    plan = render(f"joint-{'-'.join(configs)}", joint.plan(configs, variant))
    planned = Planned(JointConfig(variant=variant, experiments=configs), origins, plan)
    run.complete(state, planned)
    found = {name: _found(state, planned, name) for name in configs}
    if as_json:
        output.as_json({"variant": variant, "datasets": found})
        return
    for name, of_one in found.items():
        _show(name, of_one)


def _resolved(
    state: Session, experiment: str, dataset: str, sets: list[str], seed: str, allow: list[str]
) -> tuple[ExperimentConfig, dict[str, str]]:
    from candor.ids.config import ExperimentConfig

    request = options.request(experiment, dataset, sets, seed, allow)
    config, origins = state.workload.resolve(request, state.settings)
    assert isinstance(config, ExperimentConfig)  # As resolved above.
    return config, origins


def _found(state: Session, planned: Planned, name: str) -> dict[str, Any]:
    """Table, differences and page of one dataset."""
    import polars as pl

    def folder(task_id: str) -> Path:
        task = planned.plan.task(task_id)
        return state.store.open(task.stage, task.key).path

    gains = pl.read_parquet(folder(f"{name}.evaluate") / "effects.parquet")
    page = folder(f"{name}.report")
    return {
        "table": report.read_table(page),
        "differences": gains.filter(pl.col("metric").is_in(_METRICS)).to_dicts(),
        "page": str(page / report.PAGE),
    }


def _show(name: str, found: dict[str, Any]) -> None:
    from candor.report.gains import difference

    table = found["table"]
    report.show_rows({**table, "title": f"One classifier for all, and one for {name} alone"})
    for row in found["differences"]:
        output.say(
            f"{row['metric']} in {row['scenario'] or 'all test captures'}: joint less alone {difference(row)}"
            + (f" ({row['method']})" if row["method"] else "")
        )
    for note in table["notes"]:
        output.say(note)
    output.say(f"Page: {found['page']}")
    output.say("")
