"""Raw flow files → validated flows, one Parquet per capture, beside quarantine, catalog and events.

Layout of the artifact:
    flows/<capture>.parquet       schema.flow_schema, sorted by start
    quarantine/<capture>.parquet  file, line, reason, raw; only for captures that have any
    catalog.parquet               lake.schemas.CAPTURES, and FLOW_COLUMNS
    events.parquet                one row per attack interval
    features.json                 the data set's own features, and those withheld from models with the reason
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.errors import CaptureRejected, DataError, SchemaMismatch
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.captures import events, frames
from candor.ids.captures.flows import formats, schema
from candor.ids.captures.flows.config import FlowIngestConfig, FlowSource
from candor.ids.captures.flows.recording import PIECE_ROWS, Recording, read_recording
from candor.ids.captures.tables import TableWriter, read_in_pieces, regroup
from candor.lake.schemas import CAPTURES

#: Catalog columns that only flows have. clock: ``time``, or ``order`` where rows stand in for seconds. left_out: valid
#: flows outside the capture's ``between`` and ``part``. use: ``graphs``, or ``tabular`` without addresses.
FLOW_COLUMNS: Final = (
    pa.field("clock", pa.string()),
    pa.field("use", pa.string()),
    pa.field("pseudonymised", pa.bool_()),
    pa.field("sampled", pa.bool_()),
    pa.field("recording", pa.string()),
    pa.field("first", pa.int64()),
    pa.field("left_out", pa.int64()),
)


def ingest_flows(config: FlowIngestConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: read, check, sort, pseudonymise and publish every source.

    Raises DataError (missing, changed, unreadable, mostly malformed files, formats mixed in one data set).
    """
    del inputs
    names = [source.capture for source in config.sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        fact = f"captures named twice: {', '.join(twice)}" if twice else "no capture to ingest"
        raise DataError(fact, place=config.dataset, hint="Every capture of a dataset needs its own name.")
    rows, found, layouts = [], [], {}
    held: tuple[object, Recording | None] = (None, None)  # Captures of one recording follow each other.
    for done, source in enumerate(config.sources):
        identity = (tuple(f.sha256 or f.path for f in source.files), source.format)
        recording = held[1] if held[0] == identity else None
        recording = recording or read_recording(source, config, out.scratch / "recording")
        held = (identity, recording)
        layouts[recording.layout.name] = recording.layout
        row, intervals = _publish(source, recording, config, out.path)
        rows.append(row)
        found.append(intervals)
        out.progress(done + 1, len(config.sources), source.capture)
    if len(layouts) > 1:
        raise SchemaMismatch(
            f"captures of different formats: {', '.join(sorted(layouts))}",
            place=config.dataset,
            hint="Models need the same features in every capture.",
        )
    return _finish(config, rows, found, next(iter(layouts.values())), out.path)


def select(source: FlowSource, recording: Recording) -> tuple[int, int, int]:
    """Positions of a source's first flow and behind its last, and of the first among those of its days."""
    low, high = 0, recording.flows
    if source.between is not None:
        first, last = (_day(text, source.capture) for text in source.between)
        low, high = recording.between(first, last)
    start, stop = (round(share * (high - low)) for share in source.part)
    return low + start, low + stop, start


def _day(text: str, capture: str) -> float:
    day = pl.Series([text]).str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")
    if day.null_count():
        raise DataError(f"'{text}' is no day", place=f"{capture}.between", hint="Write it as 2017-07-04.")
    return float(day.dt.epoch("s")[0])


@dataclass
class _Tally:
    """What adds up over the flows of a capture, in order of time."""

    source: FlowSource
    gap_s: float
    rows: int = 0
    attacks: int = 0
    unlabelled: int = 0
    start: float = 0.0
    end: float = 0.0
    families: set[str] = field(default_factory=set)
    hosts: pl.Series = field(default_factory=lambda: pl.Series("host", dtype=pl.UInt64))
    stretches: list[pl.DataFrame] = field(default_factory=list)

    def add(self, flows: pl.DataFrame) -> None:
        """The next flows."""
        self.start = self.start if self.rows else float(flows["t_start"][0])
        self.end = float(flows["t_start"][-1])
        self.rows += flows.height
        self.attacks += int((flows["label"] == 1).sum())
        self.unlabelled += flows["label"].null_count()
        self.families |= set(flows["attack"].unique()) - {""}
        ends = [flows[name].drop_nulls().unique().alias("host") for name in ("src", "dst")]
        self.hosts = pl.concat([self.hosts, *ends]).unique()
        labels = flows.select("label", "attack", timestamp=pl.col("t_start"))
        found = events.from_labels([labels], self.source.capture, self.start, self.gap_s)
        if found.height:
            self.stretches.append(found)

    @property
    def events(self) -> pl.DataFrame:
        """Attack events of the whole capture."""
        return events.join(self.stretches, self.gap_s)


def _publish(
    source: FlowSource, recording: Recording, config: FlowIngestConfig, out: Path
) -> tuple[dict[str, Json], pl.DataFrame]:
    start, stop, first = select(source, recording)
    if start >= stop:
        raise CaptureRejected(
            f"capture '{source.capture}' holds no flow of its days and part",
            place=source.files[0].path,
            hint="Check between and part.",
        )
    path, tally = out / "flows" / f"{source.capture}.parquet", _Tally(source, config.event_gap_s)
    pieces = read_in_pieces(recording.path, PIECE_ROWS, start=start, stop=stop)
    with TableWriter(path) as writer:
        for table in regroup(pieces, PIECE_ROWS):
            tally.add(schema.validate(table, place=source.capture))
            writer.append(table)
    if recording.quarantined:
        aside = out / "quarantine" / f"{source.capture}.parquet"
        with frames.storage(aside):
            shutil.copyfile(recording.quarantine, aside)
    return _row(source, recording, config, tally, path) | {"first": first}, tally.events


def _row(
    source: FlowSource, recording: Recording, config: FlowIngestConfig, tally: _Tally, path: Path
) -> dict[str, Json]:
    labelled = tally.unlabelled == 0
    hashed = [f.sha256 for f in source.files]
    named = ("capture", "split", "scenario", "vehicle", "base_capture")
    by_count = sorted(recording.reasons.items(), key=lambda item: (-item[1], item[0]))
    return {
        **{name: getattr(source, name) for name in named},
        "dataset": config.dataset,
        "attack": source.attack or "+".join(sorted(tally.families)),
        "rows": tally.rows,
        "duration_s": tally.end - tally.start,
        "ids": len(tally.hosts),
        "attack_frames": tally.attacks,
        "attack_share": tally.attacks / tally.rows if labelled else None,
        "labelled": labelled,
        "quarantined": recording.quarantined,
        "quarantine_reasons": json.dumps(dict(by_count)),
        "time_reversals": recording.reversals,
        "format": recording.layout.name,
        "source": " ".join(Path(f.path).name for f in source.files),
        "source_sha256": " ".join(hashed),
        "frames_sha256": schema.content_hash(path),
        "clock": "time" if recording.layout.t_start is not None else "order",
        "use": "graphs" if recording.layout.src is not None else "tabular",
        "pseudonymised": config.pseudonymise,
        "sampled": source.sampled,
        "recording": " ".join([*hashed, *(source.between or ())]),
        "left_out": recording.flows - tally.rows,
    }


def _finish(
    config: FlowIngestConfig,
    rows: list[dict[str, Json]],
    found: list[pl.DataFrame],
    layout: formats.Layout,
    out: Path,
) -> Result:
    table = pa.Table.from_pylist(rows, schema=pa.schema([*CAPTURES, *FLOW_COLUMNS]))
    with frames.storage(out / "catalog.parquet") as path:
        pq.write_table(table, path, compression="zstd")
    frames.write(pl.concat(found), out / "events.parquet")
    about = {"features": list(layout.features), "withheld": dict(layout.withheld)}
    (out / "features.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    total = {k: int(sum(table[k].to_pylist())) for k in ("rows", "attack_frames", "quarantined")}
    return Result(
        {
            "dataset": config.dataset,
            "captures": table.num_rows,
            "flows": total["rows"],
            "attack_flows": total["attack_frames"],
            "quarantined": total["quarantined"],
            "addresses": "pseudonymised" if config.pseudonymise else "IN CLEAR: pseudonymise is off",
            "use": str(table["use"][0].as_py()),
        }
    )
