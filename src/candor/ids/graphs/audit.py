"""The gate: looks for leaks between splits and for labels that cannot be right, and stops a run that would not be honest.

Every finding has an id that ``--allow ID`` names. Labels and attack events are read here and only here before
training: nothing of this flows into a profile, a scaler or a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import FrameArrays, Frames, without_errors
from candor.ids.config import AuditConfig
from candor.ids.graphs import checks, common_checks, elsewhere, recorded_checks, shortcuts
from candor.ids.graphs.containment import near_duplicates, sketch
from candor.ids.graphs.contents import U64, frame_hashes
from candor.ids.graphs.features import NODE_FEATURES
from candor.ids.graphs.findings import Finding, Severity
from candor.ids.graphs.gate import close
from candor.ids.graphs.store import GraphStore
from candor.ids.graphs.telltale import Telltale, telltales


@dataclass(frozen=True)
class _Captures:
    """What was read of every capture once.

    Attributes:
        hashes: of every bus frame. sketches: of those that are no attack. shortcuts: measured on test captures.
        steps: of time, see there. lengths: shortest and longest payload in bytes, and the number of IDs. telltales: IDs with attacks, of test
            captures.
    """

    hashes: dict[str, U64]
    sketches: dict[str, U64]
    shortcuts: list[shortcuts.Measured]
    lengths: dict[str, tuple[int, int, int]]
    telltales: list[Telltale]
    steps: dict[str, recorded_checks.TimeSteps]


def audit(config: AuditConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: writes ``findings.json`` ({"findings", "allowed", "shortcuts", "telltales", "shared_runs"}) and a page, ``index.html``.

    Raises AuditFailed, naming every finding of level error that ``config.allow`` does not; both files then lie in
    the task's scratch folder.
    """
    catalog = pl.read_parquet(inputs.path("ingest") / "catalog.parquet")
    captures = _read(config, inputs.path("ingest"), catalog, out)
    digests = checks.content_digests(captures.hashes)
    duplicates, shared = near_duplicates(config, catalog, captures.sketches, digests)
    findings = [*_findings(config, inputs, catalog, captures, digests), *duplicates]
    findings += shortcuts.findings(captures.shortcuts, config)
    findings += elsewhere.findings(config.elsewhere, catalog)
    measured = {
        "shortcuts": [asdict(m) for m in captures.shortcuts],
        "telltales": [asdict(t) for t in captures.telltales],
        "shared_runs": {"run_frames": config.run_frames, "pairs": [asdict(s) for s in shared]},
    }
    return close(findings, config.allow, measured, catalog, out)


def _read(config: AuditConfig, ingest: Path, catalog: pl.DataFrame, out: Output) -> _Captures:
    found = _Captures({}, {}, [], {}, [], {})
    free: dict[str, str] = {}
    # Attack-free captures first: one of each vehicle stands beside its captures of attacks only.
    rows = catalog.sort(pl.col("attack") != "", maintain_order=True).select(
        "capture", "split", "vehicle", "attack"
    )
    for done, (capture, split, vehicle, attack) in enumerate(rows.iter_rows()):
        frames = _bus_frames(ingest, capture)
        found.hashes[capture] = frame_hashes(frames)
        benign = found.hashes[capture][frames.y == 0]
        found.sketches[capture] = sketch(benign, config.run_frames, config.keep_one_in)
        found.steps[capture] = recorded_checks.time_steps(frames)
        if len(frames):
            dlc = frames.dlc
            found.lengths[capture] = int(dlc.min()), int(dlc.max()), len(np.unique(frames.id))
        if not attack:
            free.setdefault(vehicle, capture)
        if split == "test":
            wanted = vehicle in free and bool(frames.y.all())
            beside = _bus_frames(ingest, free[vehicle]) if wanted else None
            found.shortcuts.extend(shortcuts.measure(capture, frames, config, beside=beside))
            found.telltales.extend(telltales(capture, frames))
            del beside
        del frames, benign  # Before the next capture is read.
        out.progress(done, len(catalog) + 1, f"reading {capture}")
    return found


def _bus_frames(ingest: Path, capture: str) -> FrameArrays:
    """Without error frames, as windows see a capture."""
    return without_errors(Frames.arrays(ingest / "frames" / f"{capture}.parquet"))


def _findings(
    config: AuditConfig, inputs: Inputs, catalog: pl.DataFrame, captures: _Captures, digests: dict[str, str]
) -> Iterator[Finding]:
    ingest, build_train = inputs.path("ingest"), inputs.path("build_train")
    events = pl.read_parquet(ingest / "events.parquet")
    train, val = GraphStore.open(build_train / "train"), GraphStore.open(build_train / "val")
    test = GraphStore.open(inputs.path("build_test") / "test")
    steps: Sequence[Iterator[Finding]] = (
        _identical_captures(catalog, digests),
        _base_captures(catalog),
        _window_ranges(config, train, val, test),
        _window_contents(config, train, val, test, captures.hashes),
        _vocabulary(build_train, train),
        common_checks.scaler_scope(build_train, train, NODE_FEATURES),
        _labels(ingest, catalog, events),
        common_checks.silent_attacks(catalog, events, on_bus=True),
        recorded_checks.from_absence(ingest),
        common_checks.unlabelled(catalog),
        common_checks.one_class(catalog, "frame"),
        common_checks.few_attacks(catalog),
        common_checks.steps_back(catalog),
        common_checks.validation(train, val),
        recorded_checks.without_time(catalog),
        recorded_checks.overlapping_times(ingest, catalog),
        recorded_checks.constant_length(captures.lengths),
        recorded_checks.injected(captures.steps),
        _calibration(events, (train, val, test)),
    )
    for step in steps:
        yield from step


def _identical_captures(catalog: pl.DataFrame, digest: dict[str, str]) -> Iterator[Finding]:
    content = catalog.with_columns(content=pl.col("capture").replace_strict(digest, return_dtype=pl.String))
    for column, what in (("frames_sha256", "identical frames"), ("content", "identical IDs and payloads")):
        for (_,), group in content.group_by(column, maintain_order=True):
            names, splits = group["capture"].to_list(), group["split"].unique().to_list()
            if len(names) < 2 or (column == "content" and group["frames_sha256"].n_unique() == 1):
                continue
            evidence = {"captures": names, "splits": sorted(splits), "by": column}
            if len(splits) > 1:
                message = f"{', '.join(names)} have {what} on both sides of the split"
                yield Finding("identical_captures_across_splits", "error", message, evidence)
            else:
                message = f"{', '.join(names)} have {what}: that recording counts more than once"
                yield Finding("identical_captures_within_split", "warning", message, evidence)


def _base_captures(catalog: pl.DataFrame) -> Iterator[Finding]:
    for (base,), group in catalog.group_by("base_capture", maintain_order=True):
        if group["split"].n_unique() > 1:
            sides = {
                str(s): g["capture"].to_list() for (s,), g in group.group_by("split", maintain_order=True)
            }
            message = f"captures derived from recording '{base}' are in training and test"
            yield Finding("base_capture_across_splits", "error", message, {"base_capture": base, **sides})


def _window_ranges(
    config: AuditConfig, train: GraphStore, val: GraphStore, test: GraphStore
) -> Iterator[Finding]:
    for name, store in (("train", train), ("val", val), ("test", test)):
        if store.meta["window"]["window_frames"] != config.window.window_frames:
            message = f"the {name} graphs have windows of {store.meta['window']['window_frames']} frames"
            evidence = {"audited": config.window.model_dump(), "built": store.meta["window"]}
            yield Finding(
                "window_config_differs", "error", message + ", the audit was told otherwise", evidence
            )
    yield from common_checks.shared_captures(train, test)
    gaps = checks.closest_ranges(train, val, config.window.window_frames)
    near = {name: gap for name, gap in gaps.items() if gap < config.split.embargo_frames}
    if near:
        message = f"validation windows lie closer than the embargo of {config.split.embargo_frames} frames to training windows"
        evidence = {"gap_frames": near, "meaning": "negative: they share frames"}
        yield Finding("windows_overlap_across_splits", "error", message, evidence)


def _window_contents(
    config: AuditConfig,
    train: GraphStore,
    val: GraphStore,
    test: GraphStore,
    hashes: dict[str, Any],
) -> Iterator[Finding]:
    for split, store, strict in (("test", test, True), ("val", val, False)):
        twins = checks.twin_windows(train, store, hashes, config.window.window_frames)
        total = sum(twins.values())
        if not total:
            continue
        share = total / max(len(store), 1)
        found = {capture: count for capture, count in twins.items() if count}
        severity: Severity = "error" if strict and share > config.max_duplicate_windows else "warning"
        message = f"{share:.2%} of {split} windows repeat the IDs and payloads of {config.window.window_frames} training frames"
        evidence = {"windows": found, "share": share, "of": len(store)}
        yield Finding(f"duplicate_windows_train_{split}", severity, message, evidence)


def _vocabulary(folder: Path, train: GraphStore) -> Iterator[Finding]:
    extra, missing = checks.vocabulary_differences(folder / "vocabulary.json", train)
    if extra or missing:
        message = "the vocabulary is not that of the training windows"
        yield Finding("vocabulary_scope", "error", message, {"not_in_training": extra, "missing": missing})


def _labels(ingest: Path, catalog: pl.DataFrame, events: pl.DataFrame) -> Iterator[Finding]:
    strange = checks.benign_on_unknown_ids(ingest, catalog, events)
    if strange:
        message = (
            f"frames labelled benign on IDs their vehicle never sends when unattacked, in {', '.join(strange)}: "
            "label noise that bounds every detector's precision"
        )
        yield Finding("label_sanity", "warning", message, {"captures": strange})


def _calibration(events: pl.DataFrame, stores: Sequence[GraphStore]) -> Iterator[Finding]:
    dirty: dict[str, Any] = {}
    for store in stores:
        for capture in store.meta["captures"]:
            end_s = capture["calibration_end_s"]
            hit = events.filter((pl.col("capture") == capture["capture"]) & (pl.col("t_start") < end_s))
            if end_s > 0 and len(hit):
                dirty[capture["capture"]] = {
                    "calibration_end_s": end_s,
                    "events": hit.drop("capture").to_dicts(),
                }
    if dirty:
        message = f"attacks fall into the calibration seconds of: {', '.join(dirty)}; their profiles hold attack traffic"
        yield Finding("calibration_contaminated", "warning", message, dirty)
