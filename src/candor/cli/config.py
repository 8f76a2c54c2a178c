"""``candor config show`` and ``candor config diff``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.session import session

app = typer.Typer(help="Show what a run is made of, and what differs between two.", no_args_is_help=True)


@app.command()
def show(
    ctx: typer.Context,
    experiment: options.Experiment,
    dataset: options.Dataset,
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    seed: options.Seeds = "",
    allow: options.Allow = [],  # noqa: B006
    origin: Annotated[bool, typer.Option("--origin", help="Say which layer each value came from.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print the complete config, every default included; what only the dataset's files would tell shows as unknown."""
    from candor.config.layers import flatten, origin_of

    state = session(ctx)
    request = replace(options.request(experiment, dataset, sets, seed, allow), without_files=True)
    config, origins = state.workload.resolve(request, state.settings)
    values = config.model_dump(mode="json")
    unknown = {key: why for key, why in origins.items() if why.startswith(_UNKNOWN)}
    for key in unknown:
        _forget(values, key)
    leaves = [(key, value, origin_of(key, origins)) for key, value in flatten(values)]
    if as_json:
        output.as_json({k: {"value": v, "origin": o} for k, v, o in leaves} if origin else values)
    elif origin:
        output.table(
            ["key", "value", "origin"], [(k, _text(v), _UNKNOWN if k in unknown else o) for k, v, o in leaves]
        )
    else:
        output.table(["key", "value"], [(k, _text(v)) for k, v, _ in leaves])
    if unknown:
        why = next(iter(unknown.values())).removeprefix(f"{_UNKNOWN}: ")
        output.note(f"Unknown on this machine: {', '.join(unknown)} ({why}).")


@app.command()
def diff(
    ctx: typer.Context,
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The older run.", show_default=False)],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The newer run.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Say which fields differ between two runs, and which tasks that changed, and why."""
    from candor.flow.drift import diff_configs, explain
    from candor.flow.run import find_run

    root = session(ctx).settings.run_root
    a, b = find_run(root, run_a), find_run(root, run_b)
    fields = diff_configs(a.info().config, b.info().config)
    drifts = explain(a.plan(), b.plan())
    moved = [d for d in drifts if d.status != "same"]
    if as_json:
        tasks = [{"task": d.task, "status": d.status, "why": d.why} for d in moved]
        output.as_json({"old": a.id, "new": b.id, "fields": [asdict(f) for f in fields], "tasks": tasks})
        return
    if not fields and not moved:
        output.say(f"{a.id} and {b.id} are the same.")
        return
    if fields:
        output.table(["field", a.id, b.id], [(f.key, _text(f.old), _text(f.new)) for f in fields])
        output.say("")
    if moved:
        output.table(["task", "status", "why"], [(d.task, d.status, d.why or " ") for d in moved])
    output.say(f"Unchanged: {output.count(len(drifts) - len(moved), 'task')}.")


#: How the origin of a key begins that only the files of a data set would tell.
_UNKNOWN = "unknown"


def _forget(values: dict[str, Any], key: str) -> None:
    """Put null where the value is not known: an empty list would say that there are none."""
    *parents, leaf = key.split(".")
    for parent in parents:
        values = values[parent]
    values[leaf] = None


#: Longer values are cut in tables; --json has them whole.
_LONGEST = 72


def _text(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST:
        return text
    kept = f"{text[: _LONGEST - 1]}…"
    return f"{kept} ({len(value)} items, --json for all)" if isinstance(value, list) else kept
