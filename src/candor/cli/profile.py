"""``candor profile``: how large the graphs of a dataset are, and how to batch them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from candor.cli import options, output, single
from candor.cli.session import session

_STATISTICS = ("mean", "sd", "cv", "min", "max")
_QUANTILES = ("0.05", "0.5", "0.95", "0.99")


def profile(
    ctx: typer.Context,
    dataset: options.DatasetName,
    experiment: options.Via = "kd",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    as_json: options.AsJson = False,
) -> None:
    """Show nodes, edges and bytes per graph of a dataset, per split and scenario, and the batching they ask for."""
    request = options.request(experiment, dataset, sets, "", [])
    done = single.up_to(session(ctx), request, "profile")
    single.leave(done)
    content = done.read("profile.json")
    if as_json:
        output.as_json({"dataset": dataset, "folder": str(done.folder), **content})
        return
    _print(dataset, content)
    single.say_page(done)


def _print(dataset: str, content: Mapping[str, Any]) -> None:
    from candor.report.numbers import quantity

    heads = [output.Column("split"), output.Column("graphs", "", "right"), output.Column("size")]
    heads += [output.Column(name, "", "right") for name in _STATISTICS]
    heads += [output.Column(f"q{q}", "", "right") for q in _QUANTILES]
    rows = []
    for group in content["groups"]:
        for size in ("nodes", "edges", "bytes"):
            own = group[size]
            cells = [group["graphs"], size, *(quantity(own[s]) for s in _STATISTICS)]
            cells += [quantity(own["quantiles"].get(q)) for q in _QUANTILES]
            rows.append([group["split"] + (f": {group['scenario']}" if group["scenario"] else ""), *cells])
    output.table(heads, rows, title=f"Graphs of {dataset}")
    output.say(f"Advice for training: {content['advice'] or 'none, as there is no graph'}. {content['rule']}")
