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
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import polars as pl
from pydantic import Field, ValidationError

from candor.config.base import Config
from candor.errors import CaptureRejected
from candor.ids.captures import formats, frames, quarantine, stream
from candor.ids.captures.format import Format
from candor.ids.captures.sources import RawFile
from candor.ids.captures.tables import TableWriter
from candor.ids.config import CaptureFormat

_QUOTED_ROWS = 3
_SNIFFED_BYTES = 1 << 16
_FRAMES: Final = pl.DataFrame(schema=frames.COLUMNS).to_arrow().schema
_QUARANTINE: Final = pl.DataFrame(schema=quarantine.SCHEMA).to_arrow().schema


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
    if there and there[0].options == options:
        return Imported(*there, present=True)
    draft = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        record = _write(raw, draft, options, capture, digest)
        for stale in {final, there[1] if there else final}:
            shutil.rmtree(stale, ignore_errors=True)
        draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Imported(record, final, present=False)


def clean(folder: Path) -> None:
    """Remove what interrupted imports left; those of processes that still run stay."""
    for draft in folder.glob(".*-*.[0-9]*"):
        pid = draft.suffix[1:]
        if not (pid.isdigit() and Path("/proc", pid).exists()):
            shutil.rmtree(draft, ignore_errors=True)


def recognise(raw: RawFile, options: ImportOptions) -> Format:
    """The format named by the options, else by the content."""
    if options.format != "auto":
        return formats.FORMATS[options.format]
    with raw.open() as content:
        start = content.read(_SNIFFED_BYTES)
    if start.startswith(b"PAR1"):
        with raw.open(seekable=True) as whole:
            return formats.recognise_file(whole, raw.place)
    return formats.recognise(start, raw.place)


@dataclass
class _Tally:
    """What adds up over the batches of a file."""

    frames: int = 0
    attacks: int = 0
    unlabelled: int = 0
    first: float = float("inf")
    last: float = float("-inf")
    reversals: int = 0
    ids: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    offences: list[pl.DataFrame] = field(default_factory=list)

    def add(self, batch: stream.Batch) -> None:
        table = batch.frames
        self.reversals = batch.time_reversals
        self.reasons.update(quarantine.counts(batch.quarantined))
        bad = quarantine.malformed(batch.quarantined)
        if bad.height and sum(part.height for part in self.offences) < _QUOTED_ROWS:
            self.offences.append(bad.head(_QUOTED_ROWS))
        if table.height:
            self.frames += table.height
            self.attacks += int((table["label"] == 1).sum())
            self.unlabelled += table["label"].null_count()
            times = table["timestamp"].to_numpy()
            self.first, self.last = min(self.first, times.min()), max(self.last, times.max())
            self.ids.update(table["id"].unique().to_list())

    @property
    def rows(self) -> int:
        return self.frames + self.reasons.total()

    def refuse_if_mostly_malformed(self, raw: RawFile, options: ImportOptions) -> None:
        with raw.open() as content:
            guess = formats.likely(content.read(_SNIFFED_BYTES))
        first = pl.concat(self.offences) if self.offences else pl.DataFrame(schema=quarantine.SCHEMA)
        bad = self.reasons.total() - self.reasons["not_a_frame"]
        share = options.max_quarantined_share
        quarantine.refuse_count(bad, self.rows, share, first=first, place=raw.place, likely=guess)
        if not self.frames:
            raise CaptureRejected("the capture holds no frame", place=raw.place, hint="Leave it out.")


def _write(raw: RawFile, draft: Path, options: ImportOptions, capture: str, digest: str) -> Record:
    kind = recognise(raw, options)
    tally = _Tally()
    with (
        raw.open(seekable=kind.blocks is not None) as content,
        TableWriter(draft / "frames.parquet", _FRAMES) as good,
        TableWriter(draft / "quarantine.parquet", _QUARANTINE) as bad,
    ):
        for batch in stream.batches(content, kind, raw.place, max_backstep_s=options.max_backstep_s):
            told = stream.Batch(_labelled(batch.frames, options), batch.quarantined, batch.time_reversals)
            tally.add(told)
            good.append(told.frames)
            bad.append(told.quarantined)
    tally.refuse_if_mostly_malformed(raw, options)
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
        labelled=tally.unlabelled == 0,
        ids=len(tally.ids),
        duration_s=tally.last - tally.first,
        time_reversals=tally.reversals,
        frames_sha256=frames.content_hash_of_file(draft / "frames.parquet"),
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
