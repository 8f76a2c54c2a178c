"""``candor audit``: the gate on its own, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from candor.cli import options, output, single
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.config.settings import Settings


def audit(
    ctx: typer.Context,
    dataset: options.DatasetName,
    experiment: options.Via = "kd",
    sets: options.Sets = [],  # noqa: B006 - typer copies it.
    allow: options.Allow = [],  # noqa: B006
    as_json: options.AsJson = False,
) -> None:
    """Look for leaks, shortcuts and wrong labels in a dataset; exit code 4 if a run on it would be stopped."""
    request = options.request(experiment, dataset, sets, "", allow)
    done = single.up_to(session(ctx), request, "audit")
    content = done.read("findings.json")
    if content is None:
        single.leave(done)
        return
    if as_json:
        output.as_json({"dataset": dataset, "passed": done.published, "folder": str(done.folder), **content})
    else:
        _print(dataset, content)
        single.say_page(done)
    for line in _same_elsewhere(dataset, session(ctx).settings):
        output.note(line)
    single.leave(done)


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
        "test capture",
        *(output.Column(n.replace("_", " "), "", "right") for n in names),
    ]
    rows: list[list[str | None]] = [
        [c, *(None if own[n] is None else f"{own[n]:.3f}" for n in names)] for c, own in found.items()
    ]
    output.say("")
    output.table(heads, rows, title="AUROC of what should not tell attacks from benign traffic")
