"""Frames and profiles to GraphStores, one per split, with the vocabulary and scalers of the training side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import CaptureRejected
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import Frames
from candor.ids.config import GraphConfig
from candor.ids.graphs.calibration import Assignment, load_assignment
from candor.ids.graphs.features import EDGE_FEATURES, NODE_FEATURES
from candor.ids.graphs.kernels import PackedGraphs, build_windows
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.stream import Stream, prepare, relate
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.graphs.windows import split_starts
from candor.ids.graphs.writer import StoreWriter

#: Entries (window × frame) built at once: about 0.5 kB each, so some 130 MB.
BLOCK_ENTRIES = 1 << 18

Split = Literal["train", "val", "test"]


@dataclass
class _Fit:
    """What is fitted while training windows stream by."""

    nodes: Moments
    edges: Moments
    ids: set[int]

    def add(self, graphs: PackedGraphs) -> None:
        self.ids.update(np.unique(graphs.node_id_N).tolist())
        benign = graphs.y_G == 0
        self.nodes.add(graphs.x_ND[np.repeat(benign, graphs.node_counts_G)])
        self.edges.add(graphs.edge_attr_E11[np.repeat(benign, graphs.edge_counts_G)])


def build(config: GraphConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: one GraphStore folder per split of ``config.splits``; with ``train`` also vocabulary.json, scaler.json.

    Train and validation windows come from training captures, test windows from test captures. Captures shorter than a
    window give none; they are counted in ``meta.json`` and in the result. Raises CaptureRejected if the training split
    ends up without a benign window (there would be nothing to fit a scaler on).
    """
    ingest, calibrate = inputs.path("ingest"), inputs.path("calibrate")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    assignment = load_assignment(calibrate)
    summary: dict[str, Any] = {}
    for split in config.splits:
        rows = catalog.filter(pl.col("split") == ("test" if split == "test" else "train")).to_dicts()
        fit = (
            _Fit(Moments(len(NODE_FEATURES)), Moments(len(EDGE_FEATURES)), set())
            if split == "train"
            else None
        )
        step = config.splits.index(split)

        def progress(done: int, total: int, note: str, step: int = step) -> None:
            out.progress(step + done / max(total, 1), len(config.splits), note)

        with StoreWriter(out.path / split) as writer:
            summary[split] = _write_split(
                config, split, rows, ingest, calibrate, assignment, writer, fit, progress
            )
        if fit is not None:
            _write_fit(fit, out.path)
    return Result(summary)


def _write_split(
    config: GraphConfig,
    split: Split,
    rows: list[dict[str, Any]],
    ingest: Path,
    calibrate: Path,
    assignment: dict[str, Assignment],
    writer: StoreWriter,
    fit: _Fit | None,
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    profiles = config.profiles if split == "train" else config.profiles[:1]
    captures: list[dict[str, Any]] = []
    attacks: list[str] = []
    positive = 0
    for number, row in enumerate(rows):
        stream = prepare(Frames.arrays(ingest / "frames" / f"{row['capture']}.parquet"))
        starts = split_starts(len(stream), split, config.window, config.split)
        attacks += [name for name in stream.attack_names if name not in attacks]
        codes = [attacks.index(name) for name in stream.attack_names]
        for variant, which in enumerate(profiles):
            assigned = assignment[row["capture"]]
            profile = Profile.load(calibrate / "profiles", assigned.name(which))
            own = profile.kind == "stream"
            for first, graphs in _blocks(stream, profile, starts, config):
                writer.append(
                    graphs,
                    capture=number,
                    first_index=first,
                    calibration_end_s=assigned.stream_end_s if own else 0.0,
                    profile=variant,
                    attack_codes=codes,
                )
                positive += int(graphs.y_G.sum())
                if fit is not None:
                    fit.add(graphs)
        captures.append(_capture_meta(row, stream, len(starts), assignment[row["capture"]]))
        progress(number + 1, len(rows), f"{split}: {row['capture']}")
    window = config.window.model_dump() | {"min_attack_frames": config.min_attack_frames}
    writer.meta = {
        "split": split,
        "captures": captures,
        "attacks": attacks,
        "profiles": list(profiles),
        "window": window,
    }
    empty = [c["capture"] for c in captures if not c["windows"]]
    return {"graphs": writer.num_graphs, "attack_graphs": positive, "captures_without_window": empty}


def _blocks(
    stream: Stream, profile: Profile, starts: npt.NDArray[np.int64], config: GraphConfig
) -> Iterator[tuple[int, PackedGraphs]]:
    """Graphs of a capture, a bounded number of windows at a time, with the ordinal of the first."""
    relative = relate(stream, profile)
    width = config.window.window_frames
    # Dense windows × profile IDs inside the kernel count too: a fuzzed calibration can know 2 000 IDs.
    size = max(BLOCK_ENTRIES // max(width, len(profile.key_P)), 1)
    for first in range(0, len(starts), size):
        block = starts[first : first + size]
        yield (
            first,
            build_windows(
                stream, relative, block, window_frames=width, min_attack_frames=config.min_attack_frames
            ),
        )


def _capture_meta(row: dict[str, Any], stream: Stream, windows: int, assigned: Assignment) -> dict[str, Any]:
    keep = {k: row[k] for k in ("capture", "vehicle", "scenario", "base_capture", "attack")}
    return keep | {
        "frames": len(stream),
        "error_frames": stream.num_errors,
        "windows": windows,
        "profile": assigned.auto,
    }


def _write_fit(fit: _Fit, folder: Path) -> None:
    if not fit.nodes.count:
        raise CaptureRejected(
            "the training split has no benign window",
            place="build",
            hint="Add an attack-free training capture, or use shorter windows.",
        )
    vocabulary = Vocabulary.fit(np.array(sorted(fit.ids), np.uint32))
    scaler = {"x": fit.nodes.scaler(NODE_FEATURES), "edge_attr": fit.edges.scaler(EDGE_FEATURES)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary.to_json()))
    (folder / "scaler.json").write_text(json.dumps({k: v.to_json() for k, v in scaler.items()}, indent=1))
