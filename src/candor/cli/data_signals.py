"""``candor data signals``: what the bytes of a capture mean, by a DBC file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.ids.signals import Decoded


def signals(
    ctx: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Dataset, e.g. hcrl_sa.", show_default=False)],
    capture: Annotated[str, typer.Argument(help="One of its captures.", show_default=False)],
    dbc: Annotated[Path, typer.Option("--dbc", help="DBC file of the bus.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write every value here, as Parquet.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Decode the named signals of an ingested capture."""
    from candor.errors import SourceMissing
    from candor.ids import catalog
    from candor.ids import signals as decoding
    from candor.ids.captures import frames

    settings = session(ctx).settings
    catalog.dataset_preset(dataset, data_root=settings.data_root)
    file = decoding.load(dbc)
    ingested = catalog.ingested(dataset, settings.cache_root)
    path = ingested.path / "frames" / f"{capture}.parquet" if ingested else None
    if path is None or not path.is_file():
        known = ", ".join(str(row["capture"]) for row in ingested.captures) if ingested else "none"
        hint = f"Ingested captures of {dataset}: {known}."
        raise SourceMissing(f"'{capture}' is not ingested", place=dataset, hint=hint)
    found = decoding.decode(file, frames.read(path))
    if out is not None:
        frames.write(found.values, out)
    rows = decoding.summary(found.values).to_dicts()
    if as_json:
        output.as_json({"signals": rows, "unknown": found.unknown, "short": found.short})
        return
    heads = [output.Column("message"), output.Column("signal"), output.Column("unit")]
    heads += [output.Column(name, "", "right") for name in ("frames", "min", "mean", "max")]
    output.table(heads, [_cells(row) for row in rows])
    _explain(found, capture, dbc)


def _cells(row: dict[str, object]) -> list[object]:
    return [
        f"{v:.6g}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else v for v in row.values()
    ]


def _explain(found: Decoded, capture: str, dbc: Path) -> None:
    if found.unknown:
        ids = sorted(found.unknown, key=lambda i: -found.unknown[i])
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        output.note(
            f"{capture}: {sum(found.unknown.values()):,} frames of IDs that {dbc.name} does not know: {shown}."
        )
    if found.short:
        output.note(f"Frames too short for their message: {found.short}.")
