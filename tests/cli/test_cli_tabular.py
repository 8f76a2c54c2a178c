"""``candor tabular``: a download without addresses stops a graph run with a reason that leads here, and is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import run

pytest.importorskip("sklearn")

PRESET = """\
name: bare
title: Flows without addresses
domain: flow
licence: none
citation: none
obtain: Nothing.
flows:
  - {capture: early, files: [{names: [th1]}], split: train, vehicle: net, base_capture: th1, part: [0.0, 0.6]}
  - {capture: late, files: [{names: [th1]}], split: test, scenario: later_rows, vehicle: net, base_capture: th1, part: [0.65, 1.0]}
"""
HEAD = "Destination Port,Flow Duration,Total Fwd Packets,Total Backward Packets,Total Length of Fwd Packets,Total Length of Bwd Packets,Label\n"
SMALL = ("evaluation.bootstrap=20", "baselines.boosting_rounds=20", "baselines.forest_trees=20")


@pytest.fixture(autouse=True)
def root(empty_machine: Path) -> Path:
    presets, raw = empty_machine / "data" / "presets" / "datasets", empty_machine / "data" / "bare"
    presets.mkdir(parents=True)
    raw.mkdir(parents=True)
    (presets / "bare.yaml").write_text(PRESET)
    rng = np.random.default_rng(0)
    rows = [
        f"80,{int(rng.integers(1, 99))},{1 if k % 5 == 0 else 9},1,{40 if k % 5 == 0 else int(rng.integers(99, 9000))},60,"
        f"{'PortScan' if k % 5 == 0 else 'BENIGN'}\n"
        for k in range(600)
    ]
    (raw / "th1.csv").write_text(HEAD + "".join(rows))
    return empty_machine


def test_flows_without_addresses_are_refused_for_graphs_and_judged_one_by_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, err = run(capsys, "audit", "bare", code=3)
    assert "has no addresses, and hosts are the nodes of a graph" in err
    assert "`candor tabular DATASET`" in err
    sets = [part for value in (*SMALL, "split.embargo_frames=20") for part in ("--set", value)]
    out, _ = run(capsys, "tabular", "bare", *sets)
    assert "boosted_trees" in out
    assert "isolation_forest" in out
    assert "of test flows equal a training flow" in out
    told = json.loads(run(capsys, "tabular", "bare", *sets, "--json")[0])
    (auroc,) = [
        r["value"] for r in told["results"] if (r["detector"], r["metric"]) == ("boosted_trees", "auroc")
    ]
    assert auroc > 0.99
    assert told["train_flows"] == 288


def test_the_gate_of_a_run_stands_before_single_flows_too(capsys: pytest.CaptureFixture[str]) -> None:
    """30 flows lie between training and test, and the embargo is of 200."""
    sets = [part for value in SMALL for part in ("--set", value)]
    _, err = run(capsys, "tabular", "bare", *sets, code=4)
    assert "late begins 30 flows behind early, within the embargo of 200" in err
    assert "--allow windows_overlap_across_splits" in err
    out, _ = run(capsys, "tabular", "bare", *sets, "--allow", "windows_overlap_across_splits")
    assert "boosted_trees" in out
    assert "The audit's error 'windows_overlap_across_splits' was allowed" in out
    told = json.loads(
        run(capsys, "tabular", "bare", *sets, "--allow", "windows_overlap_across_splits", "--json")[0]
    )
    assert len(told["notes"]) == 1
    _, err = run(capsys, "tabular", "bare", "--allow", "windows_overlap_across_split", code=2)
    assert "Did you mean 'windows_overlap_across_splits'" in err


def test_a_bus_is_refused_with_what_there_is_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = run(capsys, "tabular", "synthetic", code=2)
    assert "'synthetic' is a bus" in err
    assert "`candor run` has baselines of windows" in err
