"""Frames and profiles to GraphStores, one per split, with the vocabulary and scalers of the training side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from candor.errors import CaptureRejected
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frame_file import FrameFile
from candor.ids.config import GraphConfig
from candor.ids.graphs import shards
from candor.ids.graphs.blocks import build_blocks
from candor.ids.graphs.calibration import Assignment, load_assignment
from candor.ids.graphs.features import EDGE_FEATURES, NODE_FEATURES
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.shards import (
    Fit,
    ShardFit,
    build_shards,
    join,
    merge_fit,
    shard_folder,
    shard_writer,
    sharing,
)
from candor.ids.graphs.vocabulary import Vocabulary
from candor.ids.graphs.windows import ranges_of

Split = Literal["train", "val", "test"]
#: Captures that are held while they are built against several profiles: 25 B a frame, so 100 MB. Reading one again takes
#: 100 ns a frame, longer ones are.
HELD_FRAMES = 1 << 22
ProfileChoice = Literal["auto", "stream"]


@dataclass(frozen=True)
class _Sources:
    """What every split reads."""

    ingest: Path
    calibrate: Path
    assignment: dict[str, Assignment]
    events: pl.DataFrame

    @classmethod
    def read(cls, ingest: Path, calibrate: Path) -> _Sources:
        return cls(ingest, calibrate, load_assignment(calibrate), pl.read_parquet(ingest / "events.parquet"))

    def frames(self, capture: str) -> FrameFile:
        return FrameFile(self.ingest / "frames" / f"{capture}.parquet")

    def profiles(self, capture: str, which: Sequence[ProfileChoice]) -> list[Profile]:
        """Profiles in the order asked, each once: without an attack-free capture ``auto`` is the stream's own."""
        names = dict.fromkeys(self.assignment[capture].name(w) for w in which)
        return [Profile.load(self.calibrate / "profiles", name) for name in names]

    def declared(self, capture: str, labelled: Sequence[str]) -> list[tuple[str, float, float]]:
        """Attack intervals (family, t_start, t_end) that no frame label shows, such as a suppressed message."""
        rows = self.events.filter((pl.col("capture") == capture) & ~pl.col("attack").is_in(list(labelled)))
        return list(rows.select("attack", "t_start", "t_end").iter_rows())


@dataclass(frozen=True)
class _Job:
    """One capture on one side of the split: everything a worker needs to build its shard."""

    config: GraphConfig
    split: Split
    ingest: Path
    calibrate: Path
    row: dict[str, Any]
    folder: Path
    threads: int


def build(config: GraphConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: one GraphStore folder per split of ``config.splits``; with ``train`` also vocabulary.json, scaler.json.

    Train and validation windows come from training captures, test windows from test captures. Captures shorter than a
    window give none; they are counted in ``meta.json`` and in the result. A window is an attack window by its frames'
    labels, or if it overlaps a declared interval of a family that labels no frame of the capture (its ``node_y`` is
    then 0 everywhere). Captures are built in parallel, as shards in scratch: a build that was killed goes on with those
    that are missing. Raises CaptureRejected if the training split ends up without a benign window.
    """
    ingest, calibrate = inputs.path("ingest"), inputs.path("calibrate")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    rows = {split: _rows(catalog, split) for split in config.splits}
    share = sharing(config, catalog)
    jobs = [
        _Job(config, split, ingest, calibrate, row, shard_folder(out, split, row["capture"]), share.threads)
        for split in config.splits
        for row in rows[split]
    ]
    build_shards(_build_capture, jobs, [job.folder for job in jobs], out, share)
    summary: dict[str, Any] = {}
    for split in config.splits:
        folders = [job.folder for job in jobs if job.split == split]
        meta = {
            "split": split,
            "profiles": list(_profiles(config, split)),
            "window": config.window.model_dump() | {"min_attack_frames": config.min_attack_frames},
        }
        store = join(folders, out.path / split, meta, num_node_features=len(NODE_FEATURES))
        summary[split] = shards.summary(store)
        if split == "train":
            fit = Fit.empty(len(NODE_FEATURES), len(EDGE_FEATURES))
            for folder in folders:
                merge_fit(folder, fit)
            _write_fit(fit, out.path)
    return Result(summary)


def _rows(catalog: pl.DataFrame, split: Split) -> list[dict[str, Any]]:
    return catalog.filter(pl.col("split") == ("test" if split == "test" else "train")).to_dicts()


def _profiles(config: GraphConfig, split: Split) -> tuple[ProfileChoice, ...]:
    return config.profiles if split == "train" else config.profiles[:1]


def _build_capture(job: _Job) -> None:
    """Publish the shard of one capture."""
    config, sources = job.config, _Sources.read(job.ingest, job.calibrate)
    capture, threads = job.row["capture"], job.threads
    frames, assigned = sources.frames(capture), sources.assignment[capture]
    ranges = ranges_of(len(frames), frames.times, job.split, config.window, config.split)
    declared = sources.declared(capture, frames.attack_names)
    families = list(dict.fromkeys([*frames.attack_names, *(name for name, _, _ in declared)]))
    intervals = [(families.index(name), a, b) for name, a, b in declared]
    profiles, fit = sources.profiles(capture, _profiles(config, job.split)), ShardFit()
    again = len(profiles) > 1 and 0 < len(frames) <= HELD_FRAMES
    source = frames.held() if again else frames
    with shard_writer(job.folder, num_node_features=len(NODE_FEATURES)) as writer:
        for variant, profile in enumerate(profiles):
            blocks = build_blocks(
                source,
                profile,
                ranges,
                min_attack_frames=config.min_attack_frames,
                threads=threads,
            )
            for first, graphs in blocks:
                labelled = label_declared(graphs, intervals)
                writer.append(
                    labelled,
                    capture=0,
                    first_index=first,
                    calibration_end_s=assigned.stream_end_s if profile.kind == "stream" else 0.0,
                    profile=variant,
                    attack_codes=range(len(families)),
                )
                if job.split == "train":
                    fit.add(labelled)
        if job.split == "train":
            fit.save(writer.path)
        by_stream = any(p.kind == "stream" for p in profiles)
        facts = {k: job.row[k] for k in ("capture", "vehicle", "scenario", "base_capture", "attack")}
        facts |= {"frames": len(frames), "error_frames": frames.num_errors, "windows": len(ranges[0])}
        facts |= {"profiles": [p.kind for p in profiles]}
        facts |= {"calibration_end_s": assigned.stream_end_s if by_stream else 0.0}
        writer.meta |= {"captures": [facts], "attacks": families}


def label_declared(graphs: PackedGraphs, intervals: Sequence[tuple[int, float, float]]) -> PackedGraphs:
    """The graphs with windows that overlap an interval (attack code, t_start, t_end in s) labelled as attacks.

    A window that its frames make an attack window keeps its family; the first overlapping interval names the others.
    """
    y_G, attack_G = graphs.y_G.copy(), graphs.attack_G.copy()
    for code, start_s, end_s in intervals:
        inside = (graphs.t0_G <= end_s) & (graphs.t1_G >= start_s) & (y_G == 0)
        y_G[inside], attack_G[inside] = 1, code
    return replace(graphs, y_G=y_G, attack_G=attack_G) if intervals else graphs


def _write_fit(fit: Fit, folder: Path) -> None:
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
