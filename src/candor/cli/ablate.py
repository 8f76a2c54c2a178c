"""``candor ablate``: an experiment once as it stands, and once for every value of every axis; one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from candor.cli import options, output, run
from candor.cli.session import Planned, Session, session

_EVALUATE = "evaluate"


def ablate(
    ctx: typer.Context,
    experiment: options.Experiment,
    dataset: options.Dataset,
    axis: Annotated[
        list[str],
        typer.Option(
            "--axis", metavar="KEY=V1,V2", help="A config key and its values; repeatable.", show_default=False
        ),
    ],
    detectors: Annotated[
        str, typer.Option("--detector", metavar="NAME,NAME", help="Detectors to compare.")
    ] = "fusion",
    metrics: Annotated[
        str, typer.Option("--metric", metavar="NAME,NAME", help="Window metrics to compare.")
    ] = "f1,auroc",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    as_json: options.AsJson = False,
) -> None:
    """Run one-factor-at-a-time ablations and print how each value does against the experiment as it stands.

    What a change does not touch is computed once. Differences carry 95 % intervals: over seeds where there are several,
    else over replicates of captures and of blocks of their windows.
    """
    from candor.ids import ablation
    from candor.learn.metrics import check_metrics

    state = session(ctx)
    detector, metric = (
        [part.strip() for part in listed.split(",") if part.strip()] for listed in (detectors, metrics)
    )
    cells = ablation.cells(axis)
    check_metrics(metric)
    planned = {
        cell.name: state.planned(
            options.request(experiment, dataset, [*sets, *cell.sets], seed, allow), _EVALUATE
        )
        for cell in cells
    }
    keys = [task.key for each in planned.values() for task in each.plan.tasks]
    output.note(f"{len(cells)} experiments, {len(set(keys))} tasks; {len(keys) - len(set(keys))} are shared.")
    folders: dict[str, Path] = {}
    for name, each in planned.items():
        output.note(f"{name}:")
        folders[name] = _evaluated(state, each)
    rows = ablation.table(folders, detectors=detector, metrics=metric)
    if as_json:
        output.as_json({"experiment": experiment, "dataset": dataset, "rows": rows})
        return
    _print(rows, metric, f"Ablation of {experiment} on {dataset}")


def _evaluated(state: Session, planned: Planned) -> Path:
    """The evaluate artifact of a plan, after running what of it is not published."""
    run.complete(state, planned)
    task = planned.plan.task(_EVALUATE)
    return state.store.open(task.stage, task.key).path


def _print(rows: list[dict[str, Any]], metrics: list[str], title: str) -> None:
    from candor.report.gains import SIZE, difference, size
    from candor.report.numbers import estimate

    heads = [output.Column(name) for name in ("scenario", "detector", "variant", "experiment")]
    for name in metrics:
        heads += [output.Column(head, "", "right") for head in (name, "difference", "size d")]
    lines = []
    for row in rows:
        cells = [row["scenario"] or "all test captures", row["detector"], row["variant"], row["cell"]]
        for name in metrics:
            found = row["metrics"][name]
            cells.append(estimate({"value": found["value"], "sd": found["sd"]}))
            cells += [difference({**found, "value": found["difference"]}), size(found)]
        lines.append(cells)
    output.table(heads, lines, title=title, grouped=True)
    methods = {found["method"] for row in rows for found in row["metrics"].values() if found["method"]}
    if methods:
        output.say(
            f"Difference from the experiment as it stands; 95 % interval: {'; '.join(sorted(methods))}."
        )
    missing = {m["size_reason"] for row in rows for m in row["metrics"].values() if m["size_reason"]}
    output.say(f"Size d: {SIZE}{''.join(f'; {why}' for why in sorted(missing))}.")
