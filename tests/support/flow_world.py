"""A small seeded network as raw files: servers, clients, and one attacker who scans and floods."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from flow_texts import unsw_row
from tiny_world import output

from candor.flow.stage import Inputs
from candor.ids.captures.files import sha256_of
from candor.ids.captures.flows.config import FlowFile, FlowIngestConfig, FlowSource
from candor.ids.captures.flows.ingest import ingest_flows
from candor.ids.config import GraphConfig, SplitConfig, WindowConfig
from candor.ids.graphs.flow_builder import build_flows
from candor.ids.graphs.store import GraphStore

WINDOW, SPLIT = WindowConfig(window_frames=20, stride_frames=10), SplitConfig(blocks=10, embargo_frames=20)

#: The preset of this network, for a data root of its own.
PRESET = """
name: tiny_net
title: A simulated network
domain: flow
licence: MIT
citation: none
obtain: make_traffic writes it
flows:
  - {capture: early, files: [{names: [traffic]}], split: train, vehicle: net, base_capture: net, part: [0.0, 0.68]}
  - {capture: late, files: [{names: [traffic]}], split: test, scenario: later_time, vehicle: net, base_capture: net, part: [0.7, 1.0]}
defaults:
  window: {window_frames: 20, stride_frames: 10}
  split: {blocks: 10, embargo_frames: 20}
"""


def make_traffic(path: Path, *, flows: int = 3000, seed: int = 0) -> Path:
    """Raw UNSW-NB15 text without header. Every tenth stretch of 100 flows, some flows come from an attacker."""
    rng = np.random.default_rng(seed)
    lines, t = [], 1_421_927_414.0
    for i in range(flows):
        t += float(rng.exponential(0.1))
        client, server = int(rng.integers(1, 9)), int(rng.integers(1, 4))
        row: dict[str, object] = {"srcip": f"10.0.0.{client}", "dstip": f"10.0.1.{server}", "stime": int(t)}
        row |= {"sbytes": int(rng.integers(100, 900)), "dbytes": int(rng.integers(200, 9000))}
        row |= {"sport": int(rng.integers(1024, 60000)), "dsport": (53, 80, 443)[server - 1]}
        if i // 100 % 3 == 1 and rng.random() < 0.4:
            row |= {"srcip": "10.9.9.9", "dsport": int(rng.integers(1, 65536)), "proto": "tcp", "label": 1}
            row |= {
                "sbytes": 60,
                "dbytes": 0,
                "spkts": 1,
                "dpkts": 0,
                "dur": 0.0,
                "attack_cat": " Reconnaissance ",
            }
        lines.append(unsw_row(**row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def source(path: Path, **changes: object) -> FlowSource:
    """A source of one file."""
    values = {
        "capture": "a",
        "split": "train",
        "vehicle": "net",
        "base_capture": "a",
        "files": (FlowFile(path=str(path), sha256=sha256_of(path)),),
        **changes,
    }
    return FlowSource.model_validate(values)


@dataclass
class FlowWorld:
    """Folders of the published artifacts, below ``root``."""

    root: Path
    done: dict[str, Path] = field(default_factory=dict)

    def run(self, name: str, stage: object, config: object, *inputs: str) -> Path:
        out = output(self.root / name)
        stage(config, Inputs({n: self.done[n] for n in inputs}), out)  # type: ignore[operator]
        self.done[name] = out.path
        return out.path

    def store(self, split: str) -> GraphStore:
        return GraphStore.open(self.done["build_test" if split == "test" else "build_train"] / split)

    def flows(self, capture: str) -> pl.DataFrame:
        return pl.read_parquet(self.done["ingest"] / "flows" / f"{capture}.parquet")


def make_flow_world(root: Path, **changes: object) -> FlowWorld:
    """The network taken to graphs by the real stages."""
    world, raw = FlowWorld(root), make_traffic(root / "traffic.csv")
    sources = (
        source(raw, capture="early", base_capture="net", part=(0.0, 0.68)),
        source(raw, capture="late", base_capture="net", part=(0.7, 1.0), split="test", scenario="later_time"),
    )
    world.run("ingest", ingest_flows, FlowIngestConfig(dataset="tiny_net", sources=sources, **changes))  # type: ignore[arg-type]
    build = GraphConfig(splits=("train", "val"), window=WINDOW, split=SPLIT)
    world.run("build_train", build_flows, build, "ingest")
    world.run("build_test", build_flows, build.model_copy(update={"splits": ("test",)}), "ingest")
    return world
