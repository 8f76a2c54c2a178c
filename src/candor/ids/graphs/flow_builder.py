"""Stage: flows to GraphStores, one per split, with the scalers of the training side. No calibration, no vocabulary.

Hosts have no arbitration ID that returns in another network, so the vocabulary is empty and every node is the unknown
one; what models see of a host is what it did in the window (flow_features.py says why not more).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import CaptureRejected
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.flows import schema
from candor.ids.config import GraphConfig
from candor.ids.graphs.features import EDGE_FEATURES, Feature
from candor.ids.graphs.flow_features import flow_features
from candor.ids.graphs.flow_graphs import flow_blocks, prepare_flows
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.scaler import Moments
from candor.ids.graphs.windows import split_ranges
from candor.ids.graphs.writer import StoreWriter

#: ``domain`` of scaler.json, by which models know that no feature and no edge belongs to a named node.
DOMAIN = "flow"


@dataclass
class _Fit:
    """Moments of the benign training windows, and how rare benign flows are."""

    nodes: Moments
    edges: Moments
    flows: int = 0
    benign: int = 0
    longest: int = 0

    def count(self, y_n: npt.NDArray[np.uint8]) -> None:
        """The labels of a capture in order."""
        border = np.flatnonzero(np.diff(np.concatenate([[1], y_n != 0, [1]])))
        runs = border[1::2] - border[::2]
        self.flows += len(y_n)
        self.benign += int((y_n == 0).sum())
        self.longest = max(self.longest, int(runs.max(initial=0)))

    def add(self, graphs: PackedGraphs) -> None:
        benign = graphs.y_G == 0
        self.nodes.add(graphs.x_ND[np.repeat(benign, graphs.node_counts_G)])
        self.edges.add(graphs.edge_attr_E11[np.repeat(benign, graphs.edge_counts_G)])


def build_flows(config: GraphConfig, inputs: Inputs, out: Output) -> Result:
    """Stage: one GraphStore folder per split of ``config.splits``; with ``train`` also vocabulary.json, scaler.json.

    Raises CaptureRejected for captures without addresses, and if the training split has no benign window.
    """
    ingest = inputs.path("ingest")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    refuse_tabular(catalog)
    features = flow_features(json.loads((ingest / "features.json").read_text())["features"])
    summary: dict[str, Any] = {}
    for step, split in enumerate(config.splits):
        rows = catalog.filter(pl.col("split") == ("test" if split == "test" else "train")).to_dicts()
        fit = _Fit(Moments(len(features)), Moments(len(EDGE_FEATURES))) if split == "train" else None
        with StoreWriter(out.path / split, num_node_features=len(features)) as writer:
            writer.meta |= {
                "split": split,
                "domain": DOMAIN,
                "profiles": ["none"],
                "captures": [],
                "attacks": [],
                "node_features": [f.name for f in features],
                "window": config.window.model_dump() | {"min_attack_frames": config.min_attack_frames},
            }
            for number, row in enumerate(rows):
                _add_capture(config, split, ingest, row, writer, fit)
                done = step + (number + 1) / len(rows)
                out.progress(done, len(config.splits), f"{split}: {row['capture']}")
            summary[split] = _summary(writer)
        if fit is not None:
            _refuse_without_benign(fit, catalog["dataset"][0])
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
            hint="Use the release with addresses; this one serves tabular baselines only.",
        )


def _add_capture(
    config: GraphConfig, split: str, ingest: Path, row: dict[str, Any], writer: StoreWriter, fit: _Fit | None
) -> None:
    capture = row["capture"]
    flows = schema.to_arrays(schema.read(ingest / "flows" / f"{capture}.parquet"))
    stream = prepare_flows(flows, timed=row["clock"] == "time")
    side: Any = split
    ranges = split_ranges(flows.t, side, config.window, config.split)
    attacks, captures = writer.meta["attacks"], writer.meta["captures"]
    attacks += [name for name in flows.attack_names if name not in attacks]
    if fit is not None:
        fit.count(flows.y)
    for first, graphs in flow_blocks(stream, ranges, min_attack_flows=config.min_attack_frames):
        codes = [attacks.index(name) for name in flows.attack_names]
        writer.append(graphs, capture=len(captures), first_index=first, attack_codes=codes)
        if fit is not None:
            fit.add(graphs)
    captures.append(
        {k: row[k] for k in ("capture", "vehicle", "scenario", "base_capture", "attack")}
        | {"frames": len(flows), "error_frames": 0, "windows": len(ranges[0])}
        | {"profiles": ["none"], "calibration_end_s": 0.0}
    )


def _summary(writer: StoreWriter) -> dict[str, Any]:
    captures = writer.meta["captures"]
    empty = [c["capture"] for c in captures if not c["windows"]]
    return {"graphs": writer.num_graphs, "captures": len(captures), "captures_without_window": empty}


def _refuse_without_benign(fit: _Fit, dataset: str) -> None:
    """Raise CaptureRejected if no training window is benign, with the widest window that could be."""
    if fit.nodes.count:
        return
    hint = (
        f"The longest stretch of benign flows has {fit.longest}: take window.window_frames of that or less, "
        "or give more training data."
        if fit.longest > 1
        else "No two benign flows follow each other, so no window can be benign: take the whole data set instead of a "
        "sample of it, or the tabular baselines."
    )
    raise CaptureRejected(
        f"no training window is benign: {fit.benign:,} of {fit.flows:,} training flows are, scattered among attacks, and "
        "what is normal cannot be learnt from attacks",
        place=dataset,
        hint=hint,
    )


def _write_fit(fit: _Fit, features: tuple[Feature, ...], folder: Path) -> None:
    (folder / "vocabulary.json").write_text(json.dumps({"unknown": 0, "extended_bit": 29, "ids": []}))
    scaler = {
        "domain": DOMAIN,
        "x": fit.nodes.scaler(features).to_json(),
        "edge_attr": fit.edges.scaler(EDGE_FEATURES).to_json(),
    }
    (folder / "scaler.json").write_text(json.dumps(scaler, indent=1))
