"""``candor folds``: one experiment on several datasets that are folds of each other, and the mean over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output, run
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.ids.folds import Folds

_EVALUATE = "evaluate"


def folds(
    ctx: typer.Context,
    experiment: options.Experiment,
    datasets: Annotated[
        str,
        typer.Option("--dataset", "-d", metavar="A,B", help="Datasets that are folds.", show_default=False),
    ],
    metrics: Annotated[
        str, typer.Option("--metric", metavar="NAME,NAME", help="Window metrics.")
    ] = "auc_pr,f1,auroc",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    as_json: options.AsJson = False,
) -> None:
    """Run one experiment on every fold (what is published already does not run again) and print the mean over them.

    For datasets in which a recording trains here and tests there, such as road_statgraph and road_statgraph_reversed.
    """
    from candor.ids import folds as ids_folds

    state = session(ctx)
    names, metric = ([p.strip() for p in listed.split(",") if p.strip()] for listed in (datasets, metrics))
    ids_folds.check(names, metric)
    folders = {}
    for name in names:
        planned = state.planned(options.request(experiment, name, sets, seed, allow), _EVALUATE)
        output.note(f"{name}:")
        run.complete(state, planned)
        task = planned.plan.task(_EVALUATE)
        folders[name] = state.store.open(task.stage, task.key).path
    found = ids_folds.table(folders, metrics=metric)
    if as_json:
        output.as_json(
            {
                "experiment": experiment,
                "folds": names,
                "places": found.places,
                "rows": found.rows,
                "notes": found.notes,
            }
        )
        return
    _print(found, metric, f"{experiment}, mean over the folds {', '.join(names)}")


def _print(found: Folds, metrics: list[str], title: str) -> None:
    from candor.report.numbers import estimate, share
    from candor.report.tables import NAMES

    heads = [output.Column("detector"), output.Column("variant")]
    for name in metrics:
        heads += [output.Column(NAMES.get(name, name), "", "right"), output.Column("by fold", "", "right")]
    lines = []
    for row in found.rows:
        cells = [row["detector"], row["variant"]]
        for name in metrics:
            of = row["metrics"][name]
            cells += [
                estimate({"value": of["value"], "sd": of["sd"]}),
                " / ".join(share(v) for v in of["places"]),
            ]
        lines.append(cells)
    output.table(heads, lines, title=title)
    for note in found.notes:
        output.say(note)
    output.say(f"By fold: {' / '.join(found.places)}.")
    if any(of["sd"] is not None for row in found.rows for of in row["metrics"].values()):
        output.say("± standard deviation of the mean over seeds.")
