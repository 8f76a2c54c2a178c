"""The main job on network flows, as a person starts it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from flow_world import PRESET, make_traffic
from kd_run import Candor

SETS = (
    *("variants.teacher.scale=small", "training.max_epochs=4", "training.threads=1", "fusion.episodes=5"),
    "evaluation.bootstrap=20",
)


def test_kd_on_flows_of_a_preset_of_ones_own(tmp_path: Path):
    candor = Candor(tmp_path)
    data = tmp_path / "data"
    make_traffic(data / "tiny_net" / "traffic.csv", flows=2500)
    presets = data / "presets" / "datasets"
    presets.mkdir(parents=True)
    (presets / "tiny_net.yaml").write_text(PRESET)
    flags = [part for value in SETS for part in ("--set", value)]
    done = candor("run", "kd", "--dataset", "tiny_net", *flags)
    assert "address_whitelist" in done.stdout
    results = pl.read_parquet(candor.artifact("evaluate") / "results.parquet")
    found = results.filter(
        (pl.col("metric") == "auroc") & (pl.col("capture") == "") & (pl.col("attack") == "")
    )
    auroc = {(d, v): x for d, v, x in found.select("detector", "variant", "value").iter_rows()}
    # An attacker who opens one-packet flows to random ports is no secret to a classifier of windows.
    assert auroc["gat", "teacher"] > 0.9
    assert auroc["fusion", "student_kd"] > 0.8
    assert {v for _, v in auroc} == {"teacher", "student", "student_kd", "baseline", "control"}
    findings = json.loads((candor.artifact("audit_flows") / "findings.json").read_text())["findings"]
    assert {"temporal_split", "shortcuts"} <= {f["id"] for f in findings}
    listed = json.loads(candor("data", "list", "--dataset", "tiny_net", "--json").stdout)
    assert [(r["capture"], r["rows"]) for r in listed] == [("early", 1700), ("late", 750)]
    assert "Nothing to do" in candor("run", "kd", "--dataset", "tiny_net", *flags).stdout


def test_windows_of_seconds_are_refused_on_a_bus(tmp_path: Path):
    candor = Candor(tmp_path)
    done = candor(
        *("run", "kd", "--dataset", "synthetic", "--set", "window.window_s=1", "--set", "window.stride_s=1"),
        code=2,
    )
    assert "windows of seconds are for datasets of flows" in done.stderr
