"""``candor data``: which captures there are, what is in them, how to bring more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import data_add, data_remote, data_signals, data_table, options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.config.settings import Settings

app = typer.Typer(help="Show datasets and their captures, bring and keep their files.", no_args_is_help=True)
app.command()(data_add.add)
app.command()(data_signals.signals)
app.command()(data_remote.push)
app.command()(data_remote.pull)

_NOT_INGESTED = "not ingested yet"


@app.command("list")
def list_(
    ctx: typer.Context,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="Only this dataset.", show_default=False)
    ] = "",
    domain: Annotated[
        str,
        typer.Option(
            "--domain", help="Only this domain: automotive (can) or network (flow).", show_default=False
        ),
    ] = "",
    attack: Annotated[
        str,
        typer.Option("--attack", help="Only captures whose attack's name holds this.", show_default=False),
    ] = "",
    vehicle: Annotated[
        str, typer.Option("--vehicle", help="Only captures of this vehicle.", show_default=False)
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """List captures: rows, duration, IDs, attack share, vehicle, base capture, quarantined rows."""
    from candor.ids import catalog

    settings = session(ctx).settings
    names = [dataset] if dataset else catalog.dataset_names(data_root=settings.data_root)
    names = [name for name in names if not domain or _is_of(name, domain, settings)]
    rows = [row for name in names for row in _captures(name, settings) if _wanted(row, attack, vehicle)]
    if attack or vehicle:
        names = [name for name in names if any(row["dataset"] == name for row in rows)]
    if as_json:
        output.as_json(rows)
        return
    if not rows:
        output.note(f"No capture {_asked(dataset, domain, attack, vehicle)}.")
        return
    data_table.show(rows)
    for name in names:
        _explain(name, [row for row in rows if row["dataset"] == name], settings)


@app.command()
def show(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Dataset, e.g. hcrl_sa.", show_default=False)],
    capture: Annotated[str, typer.Argument(help="One of its captures.", show_default=False)] = "",
    as_json: options.AsJson = False,
) -> None:
    """Show a dataset (terms, totals, captures), or everything known of one capture."""
    settings = session(ctx).settings
    rows = _captures(dataset, settings)
    if capture:
        _show_capture(_pick(rows, dataset, capture), settings, as_json=as_json)
    else:
        _show_dataset(dataset, rows, settings, as_json=as_json)


def _asked(dataset: str, domain: str, attack: str, vehicle: str) -> str:
    """The filters in words."""
    said = {"of dataset": dataset, "of domain": domain, "with attack": attack, "of vehicle": vehicle}
    return ", ".join(f"{word} '{value}'" for word, value in said.items() if value) or "at all"


def _is_of(dataset: str, domain: str, settings: Settings) -> bool:
    from candor.ids import catalog, registry

    preset = catalog.dataset_preset(dataset, data_root=settings.data_root)
    return preset.domain == registry.domain(domain)


def _wanted(row: Mapping[str, Any], attack: str, vehicle: str) -> bool:
    """By metadata; ``masquerade`` finds every masquerade of whatever signal."""
    return attack.lower() in str(row["attack"]).lower() and vehicle in ("", row["vehicle"])


def _captures(dataset: str, settings: Settings) -> list[dict[str, Any]]:
    """Catalog rows of the newest ingest, else what the preset and the raw files tell."""
    from candor.ids import catalog, flow_catalog

    preset = catalog.dataset_preset(dataset, data_root=settings.data_root)
    ingested = catalog.ingested(dataset, settings.cache_root)
    if ingested is not None:
        return [{**row, "ingested": True} for row in ingested.captures]
    if preset.domain == "flow":
        return flow_catalog.planned(preset, settings)
    return catalog.planned(preset, settings)


def _explain(dataset: str, rows: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Say on stderr what the table cannot: why numbers are missing, and what to do about it."""
    from candor.ids import catalog

    preset = catalog.dataset_preset(dataset, data_root=settings.data_root)
    if rows and rows[0]["ingested"]:
        return
    absent = [row["capture"] for row in rows if row["file"] is None]
    if absent:
        output.note(
            f"{dataset}: {_NOT_INGESTED}, and {len(absent)} of {len(rows)} files are missing. {preset.obtain.strip()}"
        )
    elif preset.generated:
        output.note(f"{dataset}: {_NOT_INGESTED}. {preset.obtain.strip()}")
    else:
        output.note(
            f"{dataset}: {_NOT_INGESTED}. `candor run kd --dataset {dataset} --until ingest` does it."
        )


def _pick(rows: Sequence[dict[str, Any]], dataset: str, capture: str) -> dict[str, Any]:
    from candor.config.layers import nearest
    from candor.errors import NotFound

    for row in rows:
        if row["capture"] == capture:
            return row
    names = [str(row["capture"]) for row in rows]
    near = nearest(capture, names)
    meant = f" Did you mean '{near}'?" if near else ""
    raise NotFound(
        f"{dataset} has no capture '{capture}'", hint=f"Available: {', '.join(names) or 'none'}.{meant}"
    )


def _show_capture(row: dict[str, Any], settings: Settings, *, as_json: bool) -> None:
    from candor.ids import catalog
    from candor.ids.captures import derived

    ingested = catalog.ingested(row["dataset"], settings.cache_root)
    events = [e for e in ingested.events if e["capture"] == row["capture"]] if ingested else []
    if as_json:
        output.as_json({**row, "events": events})
        return
    output.table(["field", "value"], [(key, " " if value == "" else value) for key, value in row.items()])
    if events:
        output.say("")
        spans = [(e["attack"], f"{e['t_start']:.3f}", f"{e['t_end']:.3f}") for e in events]
        right = output.Column
        output.table(["attack", right("from", "s", "right"), right("to", "s", "right")], spans)
        for told in derived.read_told(ingested.path) if ingested else []:
            if told["capture"] == row["capture"]:
                output.note(derived.note(told))
    if not row["ingested"]:
        output.note(f"{row['capture']}: {_NOT_INGESTED}.")


def _show_dataset(dataset: str, rows: list[dict[str, Any]], settings: Settings, *, as_json: bool) -> None:
    from candor.ids import catalog

    preset = catalog.dataset_preset(dataset, data_root=settings.data_root)
    terms = preset.model_dump(include={"name", "title", "domain", "licence", "citation", "obtain"})
    if as_json:
        output.as_json({**terms, "captures": rows})
        return
    known = [row for row in rows if row["ingested"]]
    if known:
        terms["captures"] = len(known)
        terms["rows"] = f"{sum(row['rows'] for row in known):,}"
        terms["quarantined"] = f"{sum(row['quarantined'] for row in known):,}"
    output.table(["field", "value"], [(key, str(value).strip()) for key, value in terms.items()])
    output.say("")
    data_table.show(rows)
    _explain(dataset, rows, settings)
