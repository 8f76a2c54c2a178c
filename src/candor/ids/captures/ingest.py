"""Raw captures → validated frames, one Parquet each, beside quarantine, catalog and events.

Layout of the artifact:
    frames/<capture>.parquet      FRAME_SCHEMA, rows in recorded order
    quarantine/<capture>.parquet  line, reason, raw; only for captures that have any
    catalog.parquet               one row per capture (candor.lake.schemas.CAPTURES)
    events.parquet                one row per attack interval
    duplicates.json               captures dropped because an earlier training capture has the same content
    truth.json                    how true events were derived from absence; only where a capture asks for it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from candor.errors import DataError, SourceMissing
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.captures import derived, events, files, frames, progress, quarantine, transcript
from candor.ids.captures.row_groups import row_groups
from candor.ids.captures.sources import RawFile
from candor.ids.config import Absence, CaptureSource, IngestConfig
from candor.lake.schemas import CAPTURES

#: A worker process costs about a second to start; below this much text a second one does not pay.
_PARALLEL_BYTES = 64 << 20
_SOURCES: Final = TypeAdapter(tuple[CaptureSource, ...])


@dataclass(frozen=True)
class _Job:
    """Everything a worker process needs for one capture."""

    source: CaptureSource
    config: IngestConfig
    out: Path
    notes: Path


@dataclass(frozen=True)
class _Ingested:
    """What a worker process reports of one capture."""

    row: dict[str, Json]
    events: pl.DataFrame


def ingest(config: IngestConfig, inputs: Inputs, out: Output) -> Result:
    """Read, check and publish every source. Sources come from the config, else from the input ``captures``.

    Raises DataError (missing, changed, unreadable or mostly malformed files) naming the file, and for a capture whose events
    should come from absence and cannot.
    """
    sources = config.sources or read_sources(inputs.path("captures"))
    names = [source.capture for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not sources:
        fact = f"captures named twice: {', '.join(twice)}" if twice else "no capture to ingest"
        raise DataError(fact, place=config.dataset, hint="Every capture of a dataset needs its own name.")
    jobs = [_Job(source, config, out.path, out.scratch) for source in sources]
    done: dict[str, _Ingested] = {}
    size = sum(path.stat().st_size for source in sources if (path := Path(source.path)).is_file())
    at_most = config.workers if size >= _PARALLEL_BYTES else 1

    def tell(reading: list[progress.Reading]) -> None:
        known = ", ".join(f"{r.name} {r.share:.0%}" for r in reading)
        out.progress(len(done) + sum(r.share for r in reading), len(jobs), known)

    with progress.watching(out.scratch, tell):
        for _, ingested in out.workers.map(_ingest_one, jobs, at_most=at_most):
            name = str(ingested.row["capture"])
            done[name] = ingested
            out.progress(len(done), len(jobs), name)
    ordered = [done[name] for name in names]
    dropped = _drop_duplicates(ordered, out.path)
    kept = [i for i in ordered if i.row["capture"] not in dropped]
    kept = _derive_events(config, {s.capture: s for s in sources}, kept, dropped, out.path)
    return _publish(config, kept, dropped, out.path)


def read_sources(folder: Path) -> tuple[CaptureSource, ...]:
    """Sources of a generate artifact: ``captures.json`` there, paths relative to it. Raises SourceMissing, DataError."""
    listing = folder / "captures.json"
    try:
        sources = _SOURCES.validate_json(listing.read_bytes())
    except FileNotFoundError as e:
        raise SourceMissing("the input has no captures.json", place=folder.name) from e
    except ValidationError as e:
        raise DataError(
            f"captures.json is not a list of sources: {e.errors()[0]['msg']}", place=folder.name
        ) from e
    return tuple(source.model_copy(update={"path": str(folder / source.path)}) for source in sources)


def _ingest_one(job: _Job) -> _Ingested:
    source, config = job.source, job.config
    path = Path(source.path)
    digest = files.sha256_of(path)
    if source.sha256 and digest != source.sha256:
        raise DataError(
            f"'{path.name}' changed since the run was planned (sha256 {digest[:12]}, planned {source.sha256[:12]})",
            place=str(path.parent),
            hint="Plan again: the same command does.",
        )
    raw, to = RawFile(path), job.out / "frames" / f"{source.capture}.parquet"
    kind = transcript.recognise(raw, source.format)
    with progress.noting(job.notes, source.capture, source.capture) as told:
        tally = transcript.transcribe(
            raw,
            kind,
            to,
            job.out / "quarantine" / f"{source.capture}.parquet",
            label=_Labels(source),
            max_backstep_s=config.max_backstep_s,
            max_quarantined_share=config.max_quarantined_share,
            told=told,
        )
    if source.events is None or isinstance(source.events, Absence):
        labels = row_groups(to, "frames", ["timestamp", "label", "attack"])
        found = events.from_labels(labels, source.capture, tally.first, config.event_gap_s)
    else:
        found = events.declared(source.events, source.capture)
    row = _row(config.dataset, source, tally, kind.name, digest, frames.content_hash_of_file(to))
    return _Ingested(row, found)


class _Labels:
    """Gives attack frames the file's family, unlabelled ones the declared meaning, and both where intervals tell."""

    def __init__(self, source: CaptureSource) -> None:
        self._source = source
        declared = () if isinstance(source.events, Absence) else source.events or ()
        self._telling = [interval for interval in declared if interval.tells_frames]
        self._start: float | None = None

    def __call__(self, table: pl.DataFrame) -> pl.DataFrame:
        if self._start is None and table.height:
            self._start = float(table["timestamp"][0])
        # Whoever knows the attack's intervals knows the rest to be benign; windows of the intervals are told by these.
        known = self._source.unlabelled_as == "benign" or self._source.events is not None
        label = pl.col("label").fill_null(0) if known else pl.col("label")
        named = pl.lit(self._source.attack or "attack")
        for interval in self._telling if self._start is not None else ():
            hit = events.injected(interval, self._start or 0.0)
            label = pl.when(hit).then(1).otherwise(label).cast(pl.UInt8)
            named = pl.when(hit).then(pl.lit(interval.attack)).otherwise(named)
        labelled = table.with_columns(label=label, attack=named)
        family = pl.when(pl.col("label") == 1).then(pl.col("attack")).otherwise(pl.lit(""))
        return labelled.with_columns(attack=family)


def _row(
    dataset: str, source: CaptureSource, tally: transcript.Tally, format_name: str, digest: str, content: str
) -> dict[str, Json]:
    return {
        "dataset": dataset,
        "capture": source.capture,
        "split": source.split,
        "scenario": source.scenario,
        "vehicle": source.vehicle,
        "base_capture": source.base_capture,
        "attack": source.attack,
        "rows": tally.frames,
        "duration_s": tally.duration_s,
        "ids": len(tally.ids),
        "attack_frames": tally.attacks,
        "attack_share": tally.attacks / tally.frames if tally.labelled else None,
        "labelled": tally.labelled,
        "quarantined": tally.reasons.total(),
        "quarantine_reasons": json.dumps(quarantine.by_count(tally.reasons)),
        "time_reversals": tally.reversals,
        "format": format_name,
        "source": Path(source.path).name,
        "source_sha256": digest,
        "frames_sha256": content,
    }


def _drop_duplicates(ingested: list[_Ingested], out: Path) -> dict[str, str]:
    """Remove frames of training captures that repeat an earlier one; capture → the one kept.

    Test captures are left alone: a test capture that repeats a training one is a leak, which the audit must see.
    """
    first: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for item in ingested:
        if item.row["split"] != "train":
            continue
        name = str(item.row["capture"])
        kept = first.setdefault(str(item.row["frames_sha256"]), name)
        if kept != name:
            dropped[name] = kept
            (out / "frames" / f"{name}.parquet").unlink()
            (out / "quarantine" / f"{name}.parquet").unlink(missing_ok=True)
    return dropped


def _derive_events(
    config: IngestConfig,
    sources: dict[str, CaptureSource],
    kept: list[_Ingested],
    dropped: dict[str, str],
    out: Path,
) -> list[_Ingested]:
    """The captures with the events that absence tells; needs the frames of the whole dataset, so it comes last."""
    done, told = [], []
    rows = [item.row for item in kept]
    for item in kept:
        source = sources[str(item.row["capture"])]
        if isinstance(source.events, Absence):
            absent, how = derived.derive(source, rows, dropped, out / "frames", gap_s=config.event_gap_s)
            both = pl.concat([item.events, absent]).sort("t_start", maintain_order=True)
            told.append(how)
            done.append(_Ingested(item.row, both))
        else:
            done.append(item)
    if told:
        (out / derived.TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return done


def _publish(config: IngestConfig, kept: list[_Ingested], dropped: dict[str, str], out: Path) -> Result:
    catalog = pa.Table.from_pylist([item.row for item in kept], schema=CAPTURES)
    with frames.storage(out / "catalog.parquet") as path:
        pq.write_table(catalog, path, compression="zstd")
    frames.write(pl.concat([item.events for item in kept]), out / "events.parquet")
    listing = [{"capture": name, "same_as": same} for name, same in dropped.items()]
    (out / "duplicates.json").write_text(json.dumps(listing, indent=2) + "\n", encoding="utf-8")
    return Result(
        {
            "dataset": config.dataset,
            "captures": catalog.num_rows,
            "frames": _total(kept, "rows"),
            "attack_frames": _total(kept, "attack_frames"),
            "quarantined": _total(kept, "quarantined"),
            "time_reversals": _total(kept, "time_reversals"),
            "duplicates_dropped": len(dropped),
        }
    )


def _total(kept: list[_Ingested], column: str) -> int:
    return sum(int(str(item.row[column])) for item in kept)
