"""``candor ingest``: whatever a logger wrote → validated frames under the data root."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.cli import options, output
from candor.cli.session import session

if TYPE_CHECKING:
    from candor.flow.workers import Workers
    from candor.ids.captures.importing import Imported, ImportOptions
    from candor.ids.captures.progress import Reading
    from candor.ids.captures.sources import RawFile

#: A worker process costs a second to start; below this much per file it does not pay.
_PARALLEL_BYTES = 32 << 20
_TOLD_EVERY_S = 5.0


class On(StrEnum):
    """Who reads the files."""

    LOCAL = "local"
    RAY = "ray"


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
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "-w",
            help="Files at a time; 0: one per core, on a cluster as many as it has room for.",
            min=0,
        ),
    ] = 0,
    on: Annotated[
        On, typer.Option("--on", help="Processes of this machine, or tasks of a Ray cluster.")
    ] = On.LOCAL,
    address: Annotated[
        str,
        typer.Option(
            "--address", metavar="HOST:PORT", help="An existing Ray cluster for --on ray; else RAY_ADDRESS."
        ),
    ] = "",
    as_json: options.AsJson = False,
) -> None:
    """Import raw captures: recognise, check and store their frames; bad rows go to quarantine with their reason."""
    from candor.ids.captures import importing, progress, sources

    found = sources.find(paths)
    collection = name or sources.RawFile(paths[0].absolute()).stem
    folder = session(ctx).settings.data_root / "imported" / collection
    chosen = chosen_options(format_, label, vehicle, max_quarantined_share)
    importing.clean(folder)
    rows = []
    at_most = _at_most(found, on, workers)
    with _workers(on, address) as hands, progress.watching(folder, _Reading()):
        for done, row in enumerate(_import_all(found, folder, chosen, hands, at_most), start=1):
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
    found: list[RawFile], folder: Path, chosen: ImportOptions, workers: Workers, at_most: int
) -> Iterator[dict[str, Any]]:
    """Import every file; rows come as files are done.

    Files of the same content are imported once: the others wait, and find it there.
    """
    jobs = [_Job(raw, folder, chosen) for raw in found]
    digests = dict(workers.map(_digest, jobs, at_most=at_most))
    seen: set[str] = set()
    first: list[_Job] = []
    again: list[_Job] = []
    for position, job in enumerate(jobs):
        digest = digests[position]
        (again if digest in seen else first).append(replace(job, digest=digest))
        seen.add(digest or job.raw.place)
    for part, together in ((first, at_most), (again, 1)):
        yield from (row for _, row in workers.map(_import_one, part, at_most=together))


@dataclass(frozen=True)
class _Job:
    """Everything a worker needs for one file."""

    raw: RawFile
    folder: Path
    chosen: ImportOptions
    digest: str = ""


def _digest(job: _Job) -> str:
    """Of the content; "" where it cannot be read, which importing it then says."""
    from candor.errors import DataError, ExtraMissing
    from candor.ids.captures import progress

    key = sha256(job.raw.place.encode()).hexdigest()[:12]
    try:
        with progress.noting(job.folder, key, f"{job.raw.stem} (checksum)") as told:
            return job.raw.digest(told)
    except (DataError, ExtraMissing):
        return ""


def _import_one(job: _Job) -> dict[str, Any]:
    """A row of the result. A file that cannot be used is a row too; anything else that fails stops the import."""
    from candor.errors import DataError, ExtraMissing
    from candor.ids.captures import importing

    raw = job.raw
    try:
        done = importing.import_file(raw, job.folder, job.chosen, sha256=job.digest)
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


@contextmanager
def _workers(on: On, address: str) -> Iterator[Workers]:
    """Processes of this machine, or tasks of a Ray cluster. Raises ExtraMissing, RayUnavailable."""
    if on is On.LOCAL:
        from candor.flow.workers import LocalWorkers

        yield LocalWorkers()
        return
    with import_module("candor.executors.ray_cluster").connected(address):
        yield import_module("candor.executors.ray_workers").RayWorkers()


def _at_most(found: list[RawFile], on: On, wanted: int) -> int:
    if wanted:
        return wanted
    if on is On.RAY:  # The cluster says how many run at once.
        return len(found)
    pays = sum(raw.size_bytes for raw in found) >= _PARALLEL_BYTES
    return multiprocessing.cpu_count() if pays else 1


class _Reading:
    """Says now and then how far the files are that take long."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, reading: list[Reading]) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _TOLD_EVERY_S
        for r in reading:
            output.note(f"  {r.name}: {r.share:.0%} of {r.total / 1e6:,.0f} MB read")


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
