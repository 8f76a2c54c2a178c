"""``candor tabular``: baselines of single flows, for data sets that have no hosts to build graphs of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from candor.cli import options, output, run
from candor.cli.session import Planned, Session, session

if TYPE_CHECKING:
    import polars as pl

    from candor.cli.workload import Request

_METRICS = (("auroc", "AUROC"), ("auc_pr", "AUC-PR"), ("f1", "F1"), ("fpr", "FPR"))


def tabular(
    ctx: typer.Context,
    dataset: options.DatasetName,
    experiment: options.Via = "kd",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    allow: options.Allow = [],  # noqa: B006
    as_json: options.AsJson = False,
) -> None:
    """Judge single flows of a data set, addresses or not, by boosted trees and an isolation forest; no graph is built.

    The audit stands before it, as before a run: an error that is not allowed ends it with exit code 4.
    """
    import polars as pl

    from candor.report.audited import allowed_notes, read_findings

    request = options.request(experiment, dataset, sets, "", allow)
    folder, audit = _run(session(ctx), request)
    results = pl.read_parquet(folder / "results.parquet")
    said = json.loads((folder / "record.json").read_text(encoding="utf-8"))["summary"]
    notes = allowed_notes(read_findings(audit))
    if as_json:
        told = {"dataset": dataset, "folder": str(folder), **said, "results": results.to_dicts()}
        output.as_json({**told, "notes": notes})
        return
    _show(dataset, results, said)
    for note in notes:
        output.say(note)
    output.say(f"Results: {folder / 'results.parquet'}")


def _run(state: Session, request: Request) -> tuple[Path, Path]:
    """Folders of the results and of the audit, after running what of them is not published."""
    from candor.flow.plan import render
    from candor.ids import pipeline
    from candor.ids.config import ExperimentConfig

    config, origins = state.workload.resolve(request, state.settings)
    assert isinstance(config, ExperimentConfig)  # As resolved above.
    plan = render(f"tabular-{request.dataset}", pipeline.tabular(config))
    run.complete(state, Planned(config, origins, plan))
    tabular, audit = (plan.task(name) for name in ("tabular", "audit"))
    return state.store.path(tabular.stage, tabular.key), state.store.path(audit.stage, audit.key)


def _show(dataset: str, results: pl.DataFrame, said: Mapping[str, Any]) -> None:
    heads: list[output.Column | str] = [output.Column("scenario", whole=True), output.Column("detector")]
    heads += [output.Column(title, "", "right") for _, title in _METRICS]
    heads += [output.Column("flows", "", "right"), output.Column("attacks", "", "right")]
    rows = []
    notes: dict[str, None] = {}
    for (scenario, detector), part in results.partition_by(
        "scenario", "detector", as_dict=True, maintain_order=True
    ).items():
        by_name = {row["metric"]: row for row in part.iter_rows(named=True)}
        cells = [_cell(by_name[name]) for name, _ in _METRICS]
        notes |= {r["undefined_reason"]: None for r in by_name.values() if r["value"] is None}
        first = next(iter(by_name.values()))
        rows.append(
            [str(scenario), str(detector), *cells, f"{first['flows']:,}", f"{first['attack_flows']:,}"]
        )
    output.table(heads, rows, title=f"Single flows of {dataset}")
    output.say(
        f"[low, high]: 95 % interval{_drawn(results)}. The threshold is that of the last flows of training."
    )
    for scenario, share in said["repeated"].items():
        output.say(
            f"{scenario}: {share:.1%} of test flows equal a training flow in every measure; those, a look-up would know."
        )
    for note in notes:
        output.say(f"– undefined: {note}.")


def _drawn(results: pl.DataFrame) -> str:
    """What the intervals are from; scenarios of one capture say so."""
    several = results.filter(interval="captures")["scenario"].unique(maintain_order=True).to_list()
    alone = results.filter(interval="blocks")["scenario"].unique(maintain_order=True).to_list()
    said = []
    if several:
        said.append(f" of captures, then of blocks of flows within them ({', '.join(several)})")
    if alone:
        said.append(f" of blocks of flows within the one capture of a kind ({', '.join(alone)})")
    return f" by bootstrap{';'.join(said)}" if said else ""


def _cell(row: Mapping[str, Any]) -> str | None:
    if row["value"] is None:
        return None
    span = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{span}"
