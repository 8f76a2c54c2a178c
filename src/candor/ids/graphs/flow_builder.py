"""Stage: flows to GraphStores, one per split, with the scalers of the training side. No calibration, no vocabulary.

Hosts have no arbitration ID that returns in another network, so the vocabulary is empty and every node is the unknown
one; what models see of a host is what it did in the window (flow_features.py says why not more).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from candor.errors import CaptureRejected
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.flows import schema
from candor.ids.captures.flows.flow_file import FlowFile
from candor.ids.config import GraphConfig
from candor.ids.graphs import shards
from candor.ids.graphs.features import EDGE_FEATURES, Feature
from candor.ids.graphs.flow_features import flow_features
from candor.ids.graphs.flow_graphs import flow_blocks
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
from candor.ids.graphs.windows import ranges_of

#: ``domain`` of scaler.json, by which models know that no feature and no edge belongs to a named node.
DOMAIN = "flow"
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class _Job:
    """One capture on one side of the split: everything a worker needs to build its shard."""

    config: GraphConfig
    split: Split
    ingest: Path
    row: dict[str, Any]
    folder: Path
    num_features: int
    threads: int


def build_flows(config: GraphConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: one GraphStore folder per split of ``config.splits``; with ``train`` also vocabulary.json, scaler.json.

    Raises CaptureRejected for captures without addresses, and if the training split has no benign window.
    """
    ingest = inputs.path("ingest")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    refuse_tabular(catalog)
    features = flow_features(json.loads((ingest / "features.json").read_text())["features"])
    share = sharing(config, catalog)
    jobs = [
        _Job(
            config, split, ingest, row, shard_folder(out, split, row["capture"]), len(features), share.threads
        )
        for split in config.splits
        for row in catalog.filter(pl.col("split") == ("test" if split == "test" else "train")).to_dicts()
    ]
    build_shards(_build_capture, jobs, [job.folder for job in jobs], out, share)
    summary: dict[str, Any] = {}
    for split in config.splits:
        folders = [job.folder for job in jobs if job.split == split]
        meta = {
            "split": split,
            "domain": DOMAIN,
            "profiles": ["none"],
            "node_features": [f.name for f in features],
            "window": config.window.model_dump() | {"min_attack_frames": config.min_attack_frames},
        }
        store = join(folders, out.path / split, meta, num_node_features=len(features))
        summary[split] = shards.summary(store)
        if split == "train":
            fit = Fit.empty(len(features), len(EDGE_FEATURES))
            for folder in folders:
                merge_fit(folder, fit)
            if not fit.nodes.count:
                raise _no_benign_window(ingest, [job.row for job in jobs if job.split == "train"])
            _write_fit(fit, features, out.path)
    return Result(summary)


def refuse_tabular(catalog: pl.DataFrame) -> None:
    """Raise CaptureRejected if captures lack addresses."""
    bare = catalog.filter(pl.col("use") == "tabular")
    if bare.height:
        name, kind = bare.row(0, named=True)["capture"], bare["format"][0]
        raise CaptureRejected(
            f"capture '{name}' (format {kind}) has no addresses, and hosts are the nodes of a graph",
            place=str(bare["source"][0]),
            hint="Use the release with addresses; this one serves baselines of single flows: `candor tabular DATASET`.",
        )


def _build_capture(job: _Job) -> None:
    """Publish the shard of one capture."""
    row, config = job.row, job.config
    flows = FlowFile(job.ingest / "flows" / f"{row['capture']}.parquet")
    ranges = ranges_of(len(flows), flows.times, job.split, config.window, config.split)
    fit = ShardFit()
    with shard_writer(job.folder, num_node_features=job.num_features) as writer:
        blocks = flow_blocks(
            flows,
            ranges,
            timed=row["clock"] == "time",
            min_attack_flows=config.min_attack_frames,
            threads=job.threads,
        )
        for first, graphs in blocks:
            writer.append(graphs, capture=0, first_index=first, attack_codes=range(len(flows.attack_names)))
            if job.split == "train":
                fit.add(graphs)
        if job.split == "train":
            fit.save(writer.path)
        facts = {k: row[k] for k in ("capture", "vehicle", "scenario", "base_capture", "attack")}
        facts |= {"frames": len(flows), "error_frames": 0, "windows": len(ranges[0])}
        facts |= {"profiles": ["none"], "calibration_end_s": 0.0}
        writer.meta |= {"captures": [facts], "attacks": list(flows.attack_names)}


def _no_benign_window(ingest: Path, rows: Sequence[dict[str, Any]]) -> CaptureRejected:
    """Says how rare benign flows are, and the widest window that could be benign."""
    flows = benign = longest = 0
    for row in rows:
        y_n = schema.to_arrays(schema.read(ingest / "flows" / f"{row['capture']}.parquet")).y
        border = np.flatnonzero(np.diff(np.concatenate([[1], y_n != 0, [1]])))
        runs = border[1::2] - border[::2]
        flows, benign = flows + len(y_n), benign + int((y_n == 0).sum())
        longest = max(longest, int(runs.max(initial=0)))
    hint = (
        f"The longest stretch of benign flows has {longest}: take window.window_frames of that or less, "
        "or give more training data."
        if longest > 1
        else "No two benign flows follow each other, so no window can be benign: take the whole data set instead of a "
        "sample of it, or `candor tabular DATASET`."
    )
    return CaptureRejected(
        f"no training window is benign: {benign:,} of {flows:,} training flows are, scattered among attacks, and "
        "what is normal cannot be learnt from attacks",
        place=str(rows[0]["dataset"]) if rows else "build",
        hint=hint,
    )


def _write_fit(fit: Fit, features: tuple[Feature, ...], folder: Path) -> None:
    (folder / "vocabulary.json").write_text(json.dumps({"unknown": 0, "extended_bit": 29, "ids": []}))
    scaler = {
        "domain": DOMAIN,
        "x": fit.nodes.scaler(features).to_json(),
        "edge_attr": fit.edges.scaler(EDGE_FEATURES).to_json(),
    }
    (folder / "scaler.json").write_text(json.dumps(scaler, indent=1))
