"""``candor data add``: check a download against its preset and bring it into the data root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.ids.catalog import DatasetPreset
    from candor.ids.registry import Added, Delivery

_SHOWN = 8


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Dataset, e.g. hcrl_sa.", show_default=False)],
    path: Annotated[Path, typer.Argument(help="Folder of what you downloaded.", show_default=False)],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking to them.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what is missing or unexpected.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a downloaded dataset against its preset and link it into the data root; again it changes nothing."""
    from candor.errors import SourceMissing
    from candor.ids import catalog, registry

    settings = session(ctx).settings
    preset = catalog.dataset_preset(name, data_root=settings.data_root)
    delivery = registry.inspect(preset, path)
    added = (
        registry.Added((), ())
        if check
        else registry.add(preset, delivery, settings, "copy" if copy else "link")
    )
    if as_json:
        output.as_json(_json(delivery, added))
    else:
        _print(preset, delivery, added, checked=check)
    if delivery.missing:
        raise SourceMissing(
            f"{name} lacks {len(delivery.missing)} of {delivery.asked} {_what(preset)}: {_some(delivery.missing)}",
            place=str(path),
            hint=preset.obtain.strip(),
        )


def _print(preset: DatasetPreset, delivery: Delivery, added: Added, *, checked: bool) -> None:
    output.say(f"{preset.name}: {len(delivery.found)} of {delivery.asked} {_what(preset)} found.")
    if not checked:
        output.say(f"Added {len(added.new)}; {len(added.there)} were there already.")
    if delivery.optional:
        output.say(f"Not there, and a run goes without: {_some(delivery.optional)}.")
    if delivery.copies:
        output.say(f"Copies of captures already found, left out: {_some([p.name for p in delivery.copies])}.")
    if delivery.unexpected:
        output.say(f"Unexpected, left out: {_some([str(p) for p in delivery.unexpected])}.")
    output.note(f"Terms of {preset.name}: {preset.licence.strip()}")


def _what(preset: DatasetPreset) -> str:
    return "files" if preset.flows else "captures"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _json(delivery: Delivery, added: Added) -> dict[str, object]:
    return {
        "found": {capture: str(path) for capture, path in delivery.found.items()},
        "missing": delivery.missing,
        "optional": delivery.optional,
        "copies": [str(p) for p in delivery.copies],
        "unexpected": [str(p) for p in delivery.unexpected],
        "added": added.new,
        "there": added.there,
    }
