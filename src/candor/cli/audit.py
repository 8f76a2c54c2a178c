"""``candor audit``: the gate on its own, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from candor.cli import options, output, single
from candor.cli.session import session

if TYPE_CHECKING:
    from pathlib import Path

    from candor.cli.single import Done
    from candor.config.settings import Settings
    from candor.ids.signals import SignalNames


def audit(
    ctx: typer.Context,
    dataset: options.DatasetName,
    experiment: options.Via = "kd",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    allow: options.Allow = [],  # noqa: B006
    dbc: options.DbcFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Look for leaks, shortcuts and wrong labels in a dataset; exit code 4 if a run on it would be stopped."""
    names = _names(dataset, dbc, session(ctx).settings)
    request = options.request(experiment, dataset, sets, "", allow)
    done = single.up_to(session(ctx), request, "audit")
    content = done.read("findings.json")
    if content is None:
        single.leave(done)
        return
    if as_json:
        told = {**content, "telltales": _named(content, names, _vehicles(done))}
        output.as_json({"dataset": dataset, "passed": done.published, "folder": str(done.folder), **told})
    else:
        _print(dataset, content)
        _print_telltales(_named(content, names, _vehicles(done)), named=bool(names))
        _say_page(done, content, _named(content, names, _vehicles(done)) if names else [])
    for line in _same_elsewhere(dataset, session(ctx).settings):
        output.note(line)
    single.leave(done)


def _names(dataset: str, dbc: Path | None, settings: Settings) -> SignalNames:
    """Names of IDs and bytes: of the DBC that the person named, else of those that the dataset's preset declares."""
    from candor.ids import catalog, registry, signals

    preset = catalog.dataset_preset(dataset, data_root=settings.data_root)
    return signals.load_names(registry.dbc_files(preset, settings), dbc)


def _vehicles(done: Done) -> dict[str, str]:
    """Capture → vehicle, of the run's config."""
    sources = done.run.info().config["ingest"].get("sources", ())
    return {source["capture"]: source["vehicle"] for source in sources}


def _named(
    content: Mapping[str, Any], names: SignalNames, vehicles: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The IDs with attacks, each with the name of its message and of the byte that tells."""
    found = []
    for t in content.get("telltales", ()):
        vehicle = vehicles.get(t["capture"], "")
        where = None if t["byte"] is None else (t["byte"], t["byte"] + 1)
        signal = None if where is None else names.label(t["id"], where, vehicle=vehicle)
        found.append({**t, "message": names.label(t["id"], vehicle=vehicle), "signal": signal})
    return found


def _say_page(done: Done, content: Mapping[str, Any], named: Sequence[Mapping[str, Any]]) -> None:
    """Name the page; where a DBC has names, one with them beside the run, as what the audit published is not changed."""
    if not named:
        single.say_page(done)
        return
    import polars as pl

    from candor.ids.graphs.audit_page import page

    catalog = pl.read_parquet(done.input("ingest") / "catalog.parquet")
    path = done.run.path / "audit.html"
    path.write_text(page({**content, "telltales": named}, catalog), encoding="utf-8")
    output.say(f"Page: {path}")


def _print_telltales(found: Sequence[Mapping[str, Any]], *, named: bool) -> None:
    if not found:
        return
    right = output.Column
    heads: list[output.Column | str] = ["test capture", output.Column("ID", whole=True)]
    heads += ["message"] if named else []
    heads += [right("attack frames", "", "right"), right("benign frames", "", "right")]
    heads += [output.Column("told by", whole=True), right("AUROC", "", "right")]
    rows = []
    for t in found:
        identifier = f"0x{t['id'] & 0x1FFF_FFFF:X}"
        cells: list[str | None] = [t["capture"], identifier]
        cells += [t["message"] if t["message"] != identifier else None] if named else []
        cells += [f"{t['attack_frames']:,}", f"{t['benign_frames']:,}"]
        auroc = None if t["auroc"] is None else f"{t['auroc']:.3f}"
        rows.append([*cells, t["signal"] or "the ID itself", auroc])
    output.say("")
    output.table(
        heads, rows, title="IDs with most attack frames, and the byte or signal that tells them best"
    )


def _same_elsewhere(dataset: str, settings: Settings) -> list[str]:
    """Captures whose frames an ingest of another dataset holds too; found by content, so no preset need know of it."""
    from candor.ids import registry

    return [
        f"{own} holds the very frames of {other}/{capture}: training on one and testing on the other would leak."
        for own, other, capture in registry.same_frames(dataset, settings)
    ]


def _print(dataset: str, content: Mapping[str, Any]) -> None:
    findings: Sequence[Mapping[str, Any]] = content["findings"]
    allowed = content["allowed"]
    rows = [
        (f["severity"], f["id"] + (" (allowed)" if f["id"] in allowed else ""), f["message"])
        for f in findings
    ]
    if rows:
        heads = [output.Column(name, whole=name != "what") for name in ("severity", "finding", "what")]
        output.table(heads, rows, title=f"Audit of {dataset}")
    _print_shortcuts(content["shortcuts"])
    counts = {s: sum(f["severity"] == s for f in findings) for s in ("error", "warning", "info")}
    output.say(", ".join(f"{n} {s}{'s' if n != 1 and s != 'info' else ''}" for s, n in counts.items()) + ".")


def _print_shortcuts(measured: Sequence[Mapping[str, Any]]) -> None:
    """AUROC of every shortcut on every test capture."""
    names = list(dict.fromkeys(m["shortcut"] for m in measured))
    found: dict[str, dict[str, float | None]] = {}
    for m in measured:
        found.setdefault(m["capture"], {})[m["shortcut"]] = m["auroc"]
    if not found:
        return
    heads: list[output.Column | str] = [
        output.Column("test capture", whole=True),
        *(output.Column(n.replace("_", " "), "", "right", whole=True) for n in names),
    ]
    rows: list[list[str | None]] = [
        [c, *(None if own[n] is None else f"{own[n]:.3f}" for n in names)] for c, own in found.items()
    ]
    output.say("")
    output.table(heads, rows, title="AUROC of what should not tell attacks from benign traffic")
