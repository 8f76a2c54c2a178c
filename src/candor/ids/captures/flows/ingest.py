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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from candor.errors import CaptureRejected, DataError, SchemaMismatch
from candor.flow.stage import Inputs, Json, Output, Result
from candor.ids.captures import events, files, frames, quarantine
from candor.ids.captures.flows import formats, hosts, schema
from candor.ids.captures.flows.config import FlowFile, FlowIngestConfig, FlowSource
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


@dataclass(frozen=True)
class _Recording:
    """The files of a source, read: flows by time with host keys, quarantine, and what is true of all of them."""

    flows: pl.DataFrame
    quarantined: pl.DataFrame
    reversals: int
    layout: formats.Layout
    labelled: bool


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
    held: tuple[object, _Recording | None] = (None, None)  # Captures of one recording follow each other.
    for done, source in enumerate(config.sources):
        identity = (tuple(f.sha256 or f.path for f in source.files), source.format)
        recording = held[1] if held[0] == identity and held[1] else read_recording(source, config)
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


def read_recording(source: FlowSource, config: FlowIngestConfig) -> _Recording:
    """All files of a source as one table by time; flows that start together keep the order of file and row."""
    flows, bad, reversals, labelled = [], [], 0, True
    layout: formats.Layout | None = None
    for number, file in enumerate(source.files):
        read = formats.read(
            _content(file),
            file.path,
            name=source.format,
            max_quarantined_share=config.max_quarantined_share,
        )
        if layout is not None and layout.name != read.layout.name:
            raise SchemaMismatch(
                f"files of formats {layout.name} and {read.layout.name}", place=source.capture
            )
        layout, labelled = read.layout, labelled and read.labelled
        reversals += int((read.parsed.flows["t_start"].diff() < 0).sum())
        flows.append(read.parsed.flows.with_columns(file=pl.lit(number, pl.Int32)))
        bad.append(read.parsed.quarantined.with_columns(file=pl.lit(number, pl.Int32)))
    assert layout is not None  # A source has at least one file.
    table = pl.concat(flows).sort(["t_start", "file", "row"])
    key = hosts.key_of(config.host_seed) if config.pseudonymise else None
    table = table.with_columns(
        src=hosts.host_keys(table["src_host"], key), dst=hosts.host_keys(table["dst_host"], key)
    )
    own = [c for c in table.columns if c.startswith((schema.FEATURE, schema.WITHHELD))]
    ordered = table.select(*schema.COLUMNS, *own)
    return _Recording(ordered, pl.concat(bad), reversals, layout, labelled)


def _content(file: FlowFile) -> bytes:
    path = Path(file.path)
    digest = files.sha256_of(path)
    if file.sha256 and digest != file.sha256:
        raise DataError(
            f"'{path.name}' changed since the run was planned (sha256 {digest[:12]}, planned {file.sha256[:12]})",
            place=str(path.parent),
            hint="Plan again: the same command does.",
        )
    return files.read_bytes(path)


def select(source: FlowSource, flows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The flows of a source's days and part, and the position of the first among those of its days."""
    if source.between is not None:
        first, last = (_day(text, source.capture) for text in source.between)
        flows = flows.filter((pl.col("t_start") >= first) & (pl.col("t_start") < last))
    start, stop = (round(share * flows.height) for share in source.part)
    return flows.slice(start, stop - start), start


def _day(text: str, capture: str) -> float:
    day = pl.Series([text]).str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")
    if day.null_count():
        raise DataError(f"'{text}' is no day", place=f"{capture}.between", hint="Write it as 2017-07-04.")
    return float(day.dt.epoch("s")[0])


def _publish(
    source: FlowSource, recording: _Recording, config: FlowIngestConfig, out: Path
) -> tuple[dict[str, Json], pl.DataFrame]:
    table, first = select(source, recording.flows)
    if table.is_empty():
        raise CaptureRejected(
            f"capture '{source.capture}' holds no flow of its days and part",
            place=source.files[0].path,
            hint="Check between and part.",
        )
    frames.write(schema.validate(table, place=source.capture), out / "flows" / f"{source.capture}.parquet")
    bad = recording.quarantined
    if bad.height:
        frames.write(
            bad.select("file", "line", "reason", "raw"), out / "quarantine" / f"{source.capture}.parquet"
        )
    hashed, times = [f.sha256 for f in source.files], table["t_start"].to_numpy()
    labels = table.select("label", "attack", timestamp=pl.col("t_start"))
    intervals = events.from_labels([labels], source.capture, float(times.min()), config.event_gap_s)
    attacks = int((table["label"] == 1).sum())
    labelled = table["label"].null_count() == 0
    return {
        **{
            name: getattr(source, name)
            for name in ("capture", "split", "scenario", "vehicle", "base_capture")
        },
        "dataset": config.dataset,
        "attack": source.attack or "+".join(sorted(set(table["attack"].unique()) - {""})),
        "rows": table.height,
        "duration_s": float(times[-1] - times[0]),
        "ids": pl.concat([table["src"], table["dst"]]).drop_nulls().n_unique(),
        "attack_frames": attacks,
        "attack_share": attacks / table.height if labelled else None,
        "labelled": labelled,
        "quarantined": bad.height,
        "quarantine_reasons": json.dumps(quarantine.counts(bad)),
        "time_reversals": recording.reversals,
        "format": recording.layout.name,
        "source": " ".join(Path(f.path).name for f in source.files),
        "source_sha256": " ".join(hashed),
        "frames_sha256": schema.content_hash(table),
        "clock": "time" if recording.layout.t_start is not None else "order",
        "use": "graphs" if recording.layout.src is not None else "tabular",
        "pseudonymised": config.pseudonymise,
        "sampled": source.sampled,
        "recording": " ".join([*hashed, *(source.between or ())]),
        "first": first,
        "left_out": recording.flows.height - table.height,
    }, intervals


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
