"""Frames and profiles to GraphStores, one per split, with the vocabulary and scalers of the training side."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from candor.errors import CaptureRejected
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import Frames
from candor.ids.config import GraphConfig
from candor.ids.graphs.blocks import build_blocks
from candor.ids.graphs.calibration import Assignment, load_assignment
from candor.ids.graphs.features import EDGE_FEATURES, NODE_FEATURES
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.stream import Stream, prepare, relate
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.graphs.windows import split_ranges
from candor.ids.graphs.writer import StoreWriter

Split = Literal["train", "val", "test"]
ProfileChoice = Literal["auto", "stream"]


@dataclass
class _Fit:
    """What is fitted while training windows stream by."""

    nodes: Moments = field(default_factory=lambda: Moments(len(NODE_FEATURES)))
    edges: Moments = field(default_factory=lambda: Moments(len(EDGE_FEATURES)))
    ids: set[int] = field(default_factory=set)

    def add(self, graphs: PackedGraphs) -> None:
        self.ids.update(Vocabulary.fit(graphs.node_id_N, graphs.node_y_N).ids.tolist())
        benign = graphs.y_G == 0
        self.nodes.add(graphs.x_ND[np.repeat(benign, graphs.node_counts_G)])
        self.edges.add(graphs.edge_attr_E11[np.repeat(benign, graphs.edge_counts_G)])


@dataclass(frozen=True)
class _Sources:
    """What every split reads."""

    ingest: Path
    calibrate: Path
    assignment: dict[str, Assignment]
    events: pl.DataFrame

    def stream(self, capture: str, threads: int) -> Stream:
        return prepare(Frames.arrays(self.ingest / "frames" / f"{capture}.parquet"), threads=threads)

    def profiles(self, capture: str, which: Sequence[ProfileChoice]) -> list[Profile]:
        """Profiles in the order asked, each once: without an attack-free capture ``auto`` is the stream's own."""
        names = dict.fromkeys(self.assignment[capture].name(w) for w in which)
        return [Profile.load(self.calibrate / "profiles", name) for name in names]

    def declared(self, capture: str, labelled: Sequence[str]) -> list[tuple[str, float, float]]:
        """Attack intervals (family, t_start, t_end) that no frame label shows, such as a suppressed message."""
        rows = self.events.filter((pl.col("capture") == capture) & ~pl.col("attack").is_in(list(labelled)))
        return list(rows.select("attack", "t_start", "t_end").iter_rows())


def build(config: GraphConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: one GraphStore folder per split of ``config.splits``; with ``train`` also vocabulary.json, scaler.json.

    Train and validation windows come from training captures, test windows from test captures. Captures shorter than a
    window give none; they are counted in ``meta.json`` and in the result. A window is an attack window by its frames'
    labels, or if it overlaps a declared interval of a family that labels no frame of the capture (its ``node_y`` is
    then 0 everywhere). Raises CaptureRejected if the training split ends up without a benign window.
    """
    ingest, calibrate = inputs.path("ingest"), inputs.path("calibrate")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    events = pl.read_parquet(ingest / "events.parquet")
    sources = _Sources(ingest, calibrate, load_assignment(calibrate), events)
    summary: dict[str, Any] = {}
    for step, split in enumerate(config.splits):
        rows = catalog.filter(pl.col("split") == ("test" if split == "test" else "train")).to_dicts()
        fit = _Fit() if split == "train" else None
        with StoreWriter(out.path / split) as writer:
            for number, row in enumerate(rows):
                _add_capture(config, split, sources, row, writer, fit)
                done = step + (number + 1) / len(rows)
                out.progress(done, len(config.splits), f"{split}: {row['capture']}")
            summary[split] = _finish_split(config, split, writer)
        if fit is not None:
            _write_fit(fit, out.path)
    return Result(summary)


def _add_capture(
    config: GraphConfig,
    split: Split,
    sources: _Sources,
    row: dict[str, Any],
    writer: StoreWriter,
    fit: _Fit | None,
) -> None:
    capture, threads = row["capture"], config.threads or len(os.sched_getaffinity(0))
    stream, assigned = sources.stream(capture, threads), sources.assignment[capture]
    ranges = split_ranges(stream.t_n, split, config.window, config.split)
    declared = sources.declared(capture, stream.attack_names)
    families = list(dict.fromkeys([*stream.attack_names, *(name for name, _, _ in declared)]))
    attacks = writer.meta.setdefault("attacks", [])
    attacks += [name for name in families if name not in attacks]
    profiles = sources.profiles(capture, config.profiles if split == "train" else config.profiles[:1])
    captures = writer.meta.setdefault("captures", [])
    for variant, profile in enumerate(profiles):
        blocks = build_blocks(
            stream,
            relate(stream, profile, threads=threads),
            ranges,
            min_attack_frames=config.min_attack_frames,
            threads=threads,
        )
        for first, graphs in blocks:
            labelled = label_declared(graphs, [(families.index(name), a, b) for name, a, b in declared])
            writer.append(
                labelled,
                capture=len(captures),
                first_index=first,
                calibration_end_s=assigned.stream_end_s if profile.kind == "stream" else 0.0,
                profile=variant,
                attack_codes=[attacks.index(name) for name in families],
            )
            if fit is not None:
                fit.add(labelled)
    by_stream = any(p.kind == "stream" for p in profiles)
    captures.append(
        {k: row[k] for k in ("capture", "vehicle", "scenario", "base_capture", "attack")}
        | {"frames": len(stream), "error_frames": stream.num_errors, "windows": len(ranges[0])}
        | {
            "profiles": [p.kind for p in profiles],
            "calibration_end_s": assigned.stream_end_s if by_stream else 0.0,
        }
    )


def _finish_split(config: GraphConfig, split: Split, writer: StoreWriter) -> dict[str, Any]:
    captures = writer.meta.setdefault("captures", [])
    writer.meta.setdefault("attacks", [])
    writer.meta |= {
        "split": split,
        "profiles": list(config.profiles if split == "train" else config.profiles[:1]),
        "window": config.window.model_dump() | {"min_attack_frames": config.min_attack_frames},
    }
    empty = [c["capture"] for c in captures if not c["windows"]]
    return {"graphs": writer.num_graphs, "captures": len(captures), "captures_without_window": empty}


def label_declared(graphs: PackedGraphs, intervals: Sequence[tuple[int, float, float]]) -> PackedGraphs:
    """The graphs with windows that overlap an interval (attack code, t_start, t_end in s) labelled as attacks.

    A window that its frames make an attack window keeps its family; the first overlapping interval names the others.
    """
    y_G, attack_G = graphs.y_G.copy(), graphs.attack_G.copy()
    for code, start_s, end_s in intervals:
        inside = (graphs.t0_G <= end_s) & (graphs.t1_G >= start_s) & (y_G == 0)
        y_G[inside], attack_G[inside] = 1, code
    return replace(graphs, y_G=y_G, attack_G=attack_G) if intervals else graphs


def _write_fit(fit: _Fit, folder: Path) -> None:
    if not fit.nodes.count:
        raise CaptureRejected(
            "the training split has no benign window",
            place="build",
            hint="Add an attack-free training capture, or use shorter windows.",
        )
    vocabulary = Vocabulary(np.array(sorted(fit.ids), np.uint32))
    scaler = {"x": fit.nodes.scaler(NODE_FEATURES), "edge_attr": fit.edges.scaler(EDGE_FEATURES)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary.to_json()))
    (folder / "scaler.json").write_text(json.dumps({k: v.to_json() for k, v in scaler.items()}, indent=1))
