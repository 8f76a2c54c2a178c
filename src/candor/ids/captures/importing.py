"""Any raw file → ``<folder>/<capture>-<digest>/``: frames, quarantine and a record, streamed in bounded memory.

The record is written last and the folder renamed into place, so an import is whole or absent: what was interrupted is
done again, what is there is not. Identity is the unpacked content's digest and the options, never name or place.

    frames.parquet       FRAME_SCHEMA, rows in recorded order
    quarantine.parquet   line, reason, raw; only if there are any
    record.json          Record
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import polars as pl
from pydantic import Field, ValidationError

from candor.config.base import Config
from candor.flow.storage import fsync_path, fsync_tree
from candor.ids.captures import frames, progress, transcript
from candor.ids.captures.sources import RawFile
from candor.ids.config import CaptureFormat

#: What another machine left and has not touched for so long, it does not write any more.
_ABANDONED_S: Final = 86_400.0


#: Raised when an importer reads a file otherwise than it did: what an older one imported is imported again.
READERS: Final = 2


class ImportOptions(Config):
    """What a person says of the files.

    Attributes:
        label: "benign" where frames without label are known to be; else the family of labelled attack frames.
        max_backstep_s, max_quarantined_share: as in IngestConfig.
    """

    format: CaptureFormat = "auto"
    label: str = ""
    vehicle: str = ""
    max_backstep_s: Annotated[float, Field(ge=0)] = 1.0
    max_quarantined_share: Annotated[float, Field(ge=0, le=1)] = 0.5


class Record(Config):
    """What is known of one imported capture.

    Attributes:
        source: file it came from, ``archive!member`` for a member of a zip.
        timed: false where the format has no timestamps; see format.UNTIMED_STEP_S.
        rows: frames and quarantined rows.
        frames_sha256: content hash of the frames, the same whatever the format.
        readers: READERS of the import; 1 where the record is older than that.
    """

    capture: str
    source: str
    sha256: str
    options: ImportOptions
    format: str
    timed: bool
    rows: int
    frames: int
    quarantined: int
    reasons: dict[str, int]
    attack_frames: int
    labelled: bool
    ids: int
    duration_s: float
    time_reversals: int
    frames_sha256: str
    created: str
    readers: int = 1


@dataclass(frozen=True)
class Imported:
    """A record, its folder, and whether it was there already."""

    record: Record
    folder: Path
    present: bool


def records(folder: Path) -> dict[str, tuple[Record, Path]]:
    """Imports below ``folder`` by digest."""
    found = (_record(path) for path in sorted(folder.glob("[!.]*")))
    return {record.sha256: (record, path) for record, path in filter(None, found)}


def _present(folder: Path, digest: str) -> tuple[Record, Path] | None:
    return next((found for path in folder.glob(f"[!.]*-{digest[:12]}") if (found := _record(path))), None)


def _record(folder: Path) -> tuple[Record, Path] | None:
    try:
        return Record.model_validate_json((folder / "record.json").read_bytes()), folder
    except (OSError, ValidationError):
        return None  # Not whole, so no import.


def import_file(raw: RawFile, folder: Path, options: ImportOptions, *, sha256: str = "") -> Imported:
    """Import one file into ``folder`` unless it is there.

    Raises CaptureRejected (mostly malformed, no frame), CaptureUnreadable, SchemaMismatch, ExtraMissing, StorageFull.
    """
    digest = sha256 or raw.digest()
    capture = re.sub(r"[^A-Za-z0-9._-]+", "_", raw.stem).strip("._-") or "capture"
    final = folder / f"{capture}-{digest[:12]}"
    there = _present(folder, digest)
    if there and there[0].options == options and there[0].readers == READERS:
        return Imported(*there, present=True)
    draft = folder / f".{final.name}.{_host()}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with progress.noting(folder, f"{final.name}.{_host()}", raw.stem) as told:
            record = _write(raw, draft, options, capture, digest, told)
        with frames.storage(
            draft
        ):  # Whole on the disk before it has its name: a crash leaves all of it or nothing.
            fsync_tree(draft)
        for stale in {final, there[1] if there else final}:
            shutil.rmtree(stale, ignore_errors=True)
        draft.rename(final)
        fsync_path(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Imported(record, final, present=False)


def clean(folder: Path) -> None:
    """Remove what interrupted imports left; those of processes that still run, here or on another machine, stay."""
    progress.clean(folder)
    for draft in folder.glob(".*-*.*.[0-9]*"):
        host, pid = draft.name.rsplit(".", 2)[1:]
        here = host == _host()
        running = Path("/proc", pid).exists() if here else _touched_s_ago(draft) < _ABANDONED_S
        if not running:
            shutil.rmtree(draft, ignore_errors=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


def _touched_s_ago(draft: Path) -> float:
    try:
        return time.time() - max(path.stat().st_mtime for path in (draft, *draft.iterdir()))
    except OSError:  # It is being published or removed this moment.
        return 0.0


def _write(
    raw: RawFile,
    draft: Path,
    options: ImportOptions,
    capture: str,
    digest: str,
    told: Callable[[int, int], None],
) -> Record:
    kind = transcript.recognise(raw, options.format)
    tally = transcript.transcribe(
        raw,
        kind,
        draft / "frames.parquet",
        draft / "quarantine.parquet",
        label=partial(_labelled, options=options),
        max_backstep_s=options.max_backstep_s,
        max_quarantined_share=options.max_quarantined_share,
        told=told,
    )
    record = Record(
        capture=capture,
        source=raw.place,
        sha256=digest,
        options=options,
        format=kind.name,
        timed=kind.timed,
        rows=tally.rows,
        frames=tally.frames,
        quarantined=tally.reasons.total(),
        reasons=dict(sorted(tally.reasons.items())),
        attack_frames=tally.attacks,
        labelled=tally.labelled,
        ids=len(tally.ids),
        duration_s=tally.duration_s,
        time_reversals=tally.reversals,
        frames_sha256=frames.content_hash_of_file(draft / "frames.parquet"),
        readers=READERS,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with frames.storage(draft / "record.json") as path:
        path.write_text(json.dumps(record.model_dump(), indent=2) + "\n", encoding="utf-8")
    return record


def _labelled(table: pl.DataFrame, options: ImportOptions) -> pl.DataFrame:
    if options.label == "benign":
        return table.with_columns(pl.col("label").fill_null(0))
    if options.label:
        family = pl.when(pl.col("label") == 1).then(pl.lit(options.label)).otherwise(pl.lit(""))
        return table.with_columns(attack=family)
    return table
