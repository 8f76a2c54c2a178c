"""A new dataset is one YAML file: every verb that takes a dataset takes it, in both domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import run
from flow_texts import unsw_row

CAN = """\
name: lab_can
title: A bus of the lab
domain: can
licence: none
citation: none
obtain: Ask the lab.
captures:
  - {capture: free, path: free, split: train, vehicle: van}
  - {capture: hit, path: hit, split: train, vehicle: van, attack: dos}
  - {capture: tested, path: tested, split: test, scenario: known, vehicle: van, attack: masquerade}
defaults:
  window: {window_frames: 20, stride_frames: 20}
  split: {blocks: 10, embargo_frames: 20}
"""
FLOW = """\
name: lab_flow
title: A network of the lab
domain: flow
licence: none
citation: none
obtain: Ask the lab.
flows:
  - {capture: early, files: [{names: [flows]}], split: train, vehicle: lab, base_capture: lab, part: [0.0, 0.68]}
  - {capture: late, files: [{names: [flows]}], split: test, scenario: later, vehicle: lab, base_capture: lab, part: [0.72, 1.0], attack: scan}
defaults:
  window: {window_frames: 20, stride_frames: 10}
  split: {blocks: 10, embargo_frames: 20}
"""


@pytest.fixture(autouse=True)
def root(empty_machine: Path) -> Path:
    return empty_machine


def can_files(folder: Path) -> None:
    for seed, name in enumerate(("free", "hit", "tested")):
        rng = np.random.default_rng(seed)
        lines = ["timestamp,arbitration_id,data_field,attack"]
        for k, t in enumerate(np.arange(0, 4, 0.002)):
            hit = name != "free" and 1 < t < 3 and k % 5 == 0
            lines.append(f"{t:.6f},{0 if hit else 0x100 + k % 6:03X},{rng.bytes(8).hex()},{int(hit)}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def flow_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1500):
        scan = (
            {"srcip": "10.9.9.9", "label": 1, "attack_cat": "Scan"}
            if i // 100 % 3 == 1 and i % 3 == 0
            else {}
        )
        rows.append(unsw_row(stime=1_421_927_414 + i, sbytes=int(rng.integers(60, 900)), **scan))
    (folder / "flows.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("name", "text", "files", "domain", "attack"),
    [
        ("lab_can", CAN, can_files, "automotive", "masquerade"),
        ("lab_flow", FLOW, flow_files, "network", "scan"),
    ],
)
def test_one_yaml_is_a_dataset(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    files: object,
    domain: str,
    attack: str,
) -> None:
    presets = root / "data" / "presets" / "datasets"
    presets.mkdir(parents=True)
    (presets / f"{name}.yaml").write_text(text)

    # Known before its files are here, and what of it is not.
    found = json.loads(run(capsys, "data", "list", "--domain", domain, "--attack", attack, "--json")[0])
    assert name in {row["dataset"] for row in found}
    config, err = run(capsys, "config", "show", "kd", "--dataset", name, "--json")
    assert json.loads(config)["ingest"]["sources"] is None
    assert json.loads(config)["window"]["window_frames"] == 20
    assert "Unknown on this machine: ingest.sources" in err
    assert f"{name}: no file for" in err

    download = root / "download"
    download.mkdir()
    files(download)  # type: ignore[operator]
    assert f"{name}: " in run(capsys, "data", "add", name, str(download))[0]
    config, err = run(capsys, "config", "show", "kd", "--dataset", name, "--json")
    assert json.loads(config)["ingest"]["sources"]
    assert err == ""
    told = json.loads(run(capsys, "audit", name, "--json")[0])
    assert told["passed"] is True
    assert run(capsys, "profile", name)[0]
    rows = json.loads(run(capsys, "data", "list", "--dataset", name, "--json")[0])
    assert all(row["ingested"] for row in rows)
