"""``candor ingest``: whatever a logger wrote → validated frames under the data root."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.ids.captures.importing import Imported, ImportOptions
    from candor.ids.captures.sources import RawFile

#: A worker process costs a second to start; below this much per file it does not pay.
_PARALLEL_BYTES = 32 << 20


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, .gz, .zst, .zip.", show_default=False)],
    name: Annotated[
        str, typer.Option("--name", "-n", help="Collection to import into; default: the first path's name.")
    ] = "",
    format_: Annotated[
        str,
        typer.Option("--format", "-f", help="Format of every file, instead of what its content looks like."),
    ] = "auto",
    label: Annotated[
        str,
        typer.Option("--label", help="'benign': frames without label are; else: family of labelled attacks."),
    ] = "",
    vehicle: Annotated[str, typer.Option("--vehicle", help="Vehicle the files were recorded in.")] = "",
    max_quarantined_share: Annotated[
        float, typer.Option(help="Refuse a file with a larger share of malformed rows.", min=0, max=1)
    ] = 0.5,
    workers: Annotated[int, typer.Option("--workers", "-w", help="Processes; 0: one per core.", min=0)] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Import raw captures: recognise, check and store their frames; bad rows go to quarantine with their reason."""
    from candor.ids.captures import importing, sources

    found = sources.find(paths)
    collection = name or sources.RawFile(paths[0].absolute()).stem
    folder = session(ctx).settings.data_root / "imported" / collection
    chosen = chosen_options(format_, label, vehicle, max_quarantined_share)
    importing.clean(folder)
    rows = []
    for done, row in enumerate(_import_all(found, folder, chosen, workers), start=1):
        output.note(f"[{done}/{len(found)}] {_said(row)}")
        rows.append(row)
    rows.sort(key=lambda row: row["source"])
    if as_json:
        output.as_json({"folder": str(folder), "captures": rows})
    else:
        _print(rows, folder)
    _exit(rows)


def chosen_options(format_: str, label: str = "", vehicle: str = "", share: float = 0.5) -> ImportOptions:
    """How to read files. Raises ConfigError for an unknown format."""
    from candor.config.layers import nearest
    from candor.errors import ConfigError
    from candor.ids.captures.formats import FORMATS
    from candor.ids.captures.importing import ImportOptions

    if format_ != "auto" and format_ not in FORMATS:
        near = nearest(format_, list(FORMATS))
        meant = f" Did you mean '{near}'?" if near else ""
        raise ConfigError(
            f"no format '{format_}'", place="--format", hint=f"Available: auto, {', '.join(FORMATS)}.{meant}"
        )
    given = {"format": format_, "label": label, "vehicle": vehicle, "max_quarantined_share": share}
    return ImportOptions.model_validate(given)


def _import_all(
    found: list[RawFile], folder: Path, chosen: ImportOptions, workers: int
) -> Iterator[dict[str, Any]]:
    """Import every file, in this process or several; rows come as files are done.

    Files of the same content are imported once: the others wait, and find it there.
    """
    seen: set[str] = set()
    first: list[tuple[RawFile, Path, ImportOptions, str]] = []
    again: list[tuple[RawFile, Path, ImportOptions, str]] = []
    for raw in found:
        digest = _digest(raw)
        (again if digest in seen else first).append((raw, folder, chosen, digest))
        seen.add(digest or raw.place)
    wanted = min(workers or multiprocessing.cpu_count(), len(first))
    if wanted < 2 or (not workers and sum(raw.size_bytes for raw in found) < _PARALLEL_BYTES):
        yield from (_import_one(*job) for job in (*first, *again))
        return
    # Spawned, not forked: Polars' thread pool does not survive a fork.
    with ProcessPoolExecutor(wanted, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_import_one, *job) for job in first]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    yield from (_import_one(*job) for job in again)


def _digest(raw: RawFile) -> str:
    """Of the content; "" where it cannot be read, which importing it then says."""
    from candor.errors import DataError, ExtraMissing

    try:
        return raw.digest()
    except (DataError, ExtraMissing):
        return ""


def _import_one(raw: RawFile, folder: Path, chosen: ImportOptions, digest: str) -> dict[str, Any]:
    """A row of the result. A file that cannot be used is a row too; anything else that fails stops the import."""
    from candor.errors import DataError, ExtraMissing
    from candor.ids.captures import importing

    try:
        done = importing.import_file(raw, folder, chosen, sha256=digest)
    except (DataError, ExtraMissing) as e:
        return {
            "source": raw.place,
            "outcome": "refused",
            "named": raw.named,
            "error": type(e).__name__,
            "says": e.fact,
            "hint": e.hint or "",
            "exit_code": e.exit_code,
        }
    return _row(raw, done)


def _row(raw: RawFile, done: Imported) -> dict[str, Any]:
    record = done.record.model_dump(exclude={"options", "source"})
    return {
        "source": raw.place,
        "outcome": "present" if done.present else "imported",
        "folder": str(done.folder),
        **record,
        "label": done.record.options.label,
        "vehicle": done.record.options.vehicle,
    }


def _said(row: dict[str, Any]) -> str:
    if row["outcome"] == "refused":
        return f"refused {row['source']}: {row['says']}. {row['hint']}".rstrip()
    told = f"{row['frames']:,} frames, {row['quarantined']:,} quarantined"
    untimed = "" if row["timed"] else "; no timestamps in this format: times are row numbers"
    return f"{row['outcome']} {row['capture']} ({row['format']}): {told}{untimed}"


def _print(rows: list[dict[str, Any]], folder: Path) -> None:
    right = [output.Column(name, align="right") for name in ("frames", "quarantined", "ids")]
    first: list[output.Column | str] = ["capture", "outcome", "format"]
    heads = [*first, *right, output.Column("duration", "s", "right"), "why"]
    output.table(heads, [_cells(row) for row in rows], title=str(folder))


def _cells(row: dict[str, Any]) -> list[Any]:
    if row["outcome"] == "refused":
        return [Path(row["source"]).name, "refused", None, None, None, None, None, row["says"]]
    why = ", ".join(f"{count:,} {reason}" for reason, count in row["reasons"].items())
    numbers = [f"{row[key]:,}" for key in ("frames", "quarantined", "ids")]
    duration = f"{row['duration_s']:.1f}" if row["timed"] else None
    return [row["capture"], row["outcome"], row["format"], *numbers, duration, why]


def _exit(rows: list[dict[str, Any]]) -> None:
    """Fail if a file the person named was refused, or nothing could be used; a folder may hold other things."""
    refused = [row for row in rows if row["outcome"] == "refused"]
    if refused and (len(refused) == len(rows) or any(row["named"] for row in refused)):
        raise typer.Exit(max(row["exit_code"] for row in refused))
    if not rows:
        from candor.errors import SourceMissing

        raise SourceMissing("no file in the folders given", hint="Hidden files are left out.")
