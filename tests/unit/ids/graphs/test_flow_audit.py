from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from flow_texts import nf_text
from flow_world import SPLIT, WINDOW, FlowWorld, make_flow_world, make_traffic, source

from candor.errors import AuditFailed, CaptureRejected
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.ids.captures.flows.ingest import ingest_flows
from candor.ids.config import (
    ControlsConfig,
    FlowAuditConfig,
    GraphConfig,
    SplitConfig,
    TimeWindowConfig,
    WindowConfig,
)
from candor.ids.flow_controls import NAMES, controls_flows
from candor.ids.graphs.flow_audit import audit_flows
from candor.ids.graphs.flow_builder import build_flows
from candor.ids.scoring import window_rows

STORES = ("ingest", "build_train", "build_test")


@pytest.fixture(scope="module")
def flow_world(tmp_path_factory: pytest.TempPathFactory) -> FlowWorld:
    return make_flow_world(tmp_path_factory.mktemp("flows"))


def findings(world: FlowWorld, **changes: object) -> dict[str, dict[str, Any]]:
    config = FlowAuditConfig.model_validate({"window": WINDOW, "split": SPLIT, **changes})
    folder = world.run("audit", audit_flows, config, *STORES)
    return {f["id"]: f for f in json.loads((folder / "findings.json").read_text())["findings"]}


def controls(world: FlowWorld) -> pl.DataFrame:
    folder = world.run("controls", controls_flows, ControlsConfig(), *STORES)
    return pl.read_parquet(folder / "scores.parquet")


def rebuilt(root: Path, sources: tuple[Any, ...], window: Any = WINDOW, **changes: object) -> FlowWorld:
    world = FlowWorld(root)
    world.run("ingest", ingest_flows, FlowIngestConfig(dataset="n", sources=sources, **changes))  # type: ignore[arg-type]
    build = GraphConfig(splits=("train", "val"), window=window, split=SPLIT)
    world.run("build_train", build_flows, build, "ingest")
    world.run("build_test", build_flows, build.model_copy(update={"splits": ("test",)}), "ingest")
    return world


def test_a_temporal_split_passes_and_the_attackers_address_is_told(flow_world: FlowWorld):
    found = findings(flow_world)
    assert not [f for f in found.values() if f["severity"] == "error"]
    assert found["temporal_split"]["evidence"]["gap_flows"] == 60
    assert found["shortcuts"]["severity"] == "warning"
    assert found["shortcuts"]["evidence"]["auroc"]["source_address"] > 0.99
    assert found["shortcuts"]["evidence"]["auroc"]["sttl"] == 0.5


def test_the_page_shows_findings_and_the_shortcuts_of_every_test_capture(flow_world: FlowWorld):
    findings(flow_world)
    folder = flow_world.done["audit"]
    content = json.loads((folder / "findings.json").read_text())
    assert {m["capture"] for m in content["shortcuts"]} == {"late"}
    assert {"source_address", "destination_port", "measures", "delta_t", "row_order"} <= {
        m["shortcut"] for m in content["shortcuts"]
    }
    text = (folder / "index.html").read_text()
    assert "temporal_split" in text
    assert "over the flows of each test capture" in text
    assert "Shared recordings" not in text


def test_parts_that_touch_stop_the_run(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=1500)
    parts = (
        source(raw, capture="early", part=(0.0, 0.7)),
        source(raw, capture="late", part=(0.7, 1.0), split="test"),
    )
    world = rebuilt(tmp_path, parts)
    with pytest.raises(
        AuditFailed, match=r"\[windows_overlap_across_splits\] late begins 0 flows behind early"
    ):
        findings(world)
    assert "windows_overlap_across_splits" in findings(world, allow=["windows_overlap_across_splits"])


def test_one_recording_filed_twice_is_found(tmp_path: Path):
    raw, copy = (make_traffic(tmp_path / name, flows=1500) for name in ("a.csv", "b.csv"))
    copy.write_text(copy.read_text() + "\n")
    world = rebuilt(tmp_path, (source(raw), source(copy, capture="b", split="test")))
    with pytest.raises(AuditFailed, match="a, b hold identical flows"):
        findings(world)


def test_clear_addresses_and_samples_are_said(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=1500)
    other = make_traffic(tmp_path / "u.csv", flows=800, seed=5)
    sources = (source(raw, sampled=True), source(other, capture="b", base_capture="b", split="test"))
    found = findings(rebuilt(tmp_path, sources, pseudonymise=False))
    assert found["addresses_in_clear"]["severity"] == "warning"
    assert found["sampled_traffic"]["evidence"]["captures"] == ["a"]


def test_a_scaler_that_saw_other_data_is_found(flow_world: FlowWorld, tmp_path: Path):
    import shutil

    spoiled = FlowWorld(tmp_path, dict(flow_world.done))
    spoiled.done["build_train"] = tmp_path / "spoiled"
    shutil.copytree(flow_world.done["build_train"], spoiled.done["build_train"])
    path = spoiled.done["build_train"] / "scaler.json"
    scaler = json.loads(path.read_text())
    scaler["x"]["mean"][0] += 1
    path.write_text(json.dumps(scaler))
    with pytest.raises(AuditFailed, match="scaler_scope"):
        findings(spoiled)


def test_flows_without_time_stop_the_run_and_leave_controls_of_time_undefined(tmp_path: Path):
    raw = tmp_path / "nf.csv"
    raw.write_text(nf_text(2000))
    parts = (
        source(raw, capture="first", part=(0.0, 0.6)),
        source(raw, capture="last", part=(0.7, 1.0), split="test"),
    )
    world = rebuilt(tmp_path, parts)
    with pytest.raises(AuditFailed, match=r"\[flows_without_time\].*a row stands for a second"):
        findings(world)
    scores = controls(world)
    assert set(scores["detector"]) == {"address_whitelist", "service_whitelist"}
    column = world.store("test").meta["node_features"].index("window_rate")
    assert not world.store("test").x_ND[:, column].any()
    assert not world.store("test").edge_attr_E11[:, 2:4].any()


def test_flows_without_addresses_are_no_graph(tmp_path: Path):
    raw = tmp_path / "ml.csv"
    head = " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets, Total Length of Bwd Packets, Label\n"
    raw.write_text(head + 100 * "22,166,1,1,0,0,BENIGN\n")
    world = FlowWorld(tmp_path)
    folder = world.run("ingest", ingest_flows, FlowIngestConfig(dataset="ml", sources=(source(raw),)))
    assert pl.read_parquet(folder / "catalog.parquet")["use"].to_list() == ["tabular"]
    with pytest.raises(CaptureRejected, match="has no addresses, and hosts are the nodes of a graph"):
        world.run("build_train", build_flows, GraphConfig(splits=("train",)), "ingest")


def test_controls_score_every_window_and_an_address_is_enough(flow_world: FlowWorld):
    scores = controls(flow_world)
    assert set(scores["detector"]) == set(NAMES)
    test = scores.filter((pl.col("split") == "test") & (pl.col("detector") == "address_whitelist"))
    assert test.height == len(flow_world.store("test"))
    assert ((test["score"] > 0).cast(pl.UInt8) == test["y"]).mean() == 1.0


def test_windows_of_seconds_hold_their_flows_and_know_their_neighbours(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=2500)
    parts = (
        source(raw, capture="early", part=(0.0, 0.7)),
        source(raw, capture="late", part=(0.75, 1.0), split="test"),
    )
    window = TimeWindowConfig(window_s=4.0, stride_s=2.0)
    world = rebuilt(tmp_path, parts, window)
    store = world.store("test")
    assert (store.window_G["t1"] - store.window_G["t0"]).max() < 4.0
    rows = window_rows(world.done["build_test"] / "test", "test")
    assert rows["window"].to_list() == list(range(rows.height))
    found = findings(world, window=window)
    assert not [f for f in found.values() if f["severity"] == "error"]
    assert controls(world).filter(pl.col("split") == "test").height == len(NAMES) * len(store)


def test_validation_that_touches_training_is_found(flow_world: FlowWorld):
    with pytest.raises(AuditFailed, match="closer than the embargo of 500 flows"):
        findings(
            flow_world,
            split=SplitConfig(blocks=10, embargo_frames=500),
            window=WindowConfig(window_frames=20),
        )


def test_a_stretch_of_training_flows_in_a_test_file_is_found(tmp_path: Path):
    raw = make_traffic(tmp_path / "a.csv", flows=1500)
    other = make_traffic(tmp_path / "b.csv", flows=1500, seed=3)
    lines = raw.read_text().splitlines()
    other.write_text(other.read_text() + "\n".join(lines[200:400]) + "\n")
    world = rebuilt(tmp_path, (source(raw), source(other, capture="b", base_capture="b", split="test")))
    with pytest.raises(AuditFailed, match=r"\[near_duplicates_across_splits\] 11\.8% of the flows of b"):
        findings(world)


def test_one_flow_with_two_labels_bounds_every_detector(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=1500)
    lines = raw.read_text().splitlines()
    twice = [line.rsplit(",", 2)[0] + ", Worms ,1" for line in lines[1100:1120]]
    raw.write_text("\n".join(lines + twice) + "\n")
    parts = (
        source(raw, capture="early", part=(0.0, 0.6)),
        source(raw, capture="late", part=(0.65, 1.0), split="test"),
    )
    world = rebuilt(tmp_path, parts)
    captures = findings(world)["label_sanity"]["evidence"]["captures"]
    assert {name: found["flows"] for name, found in captures.items()} == {"late": 20}


def test_an_attack_capture_without_attack_flows_is_named(tmp_path: Path):
    raw = make_traffic(tmp_path / "t.csv", flows=1500)
    other = make_traffic(tmp_path / "u.csv", flows=800, seed=5)
    quiet = "\n".join(line for line in other.read_text().splitlines() if line.endswith(",0"))
    other.write_text(quiet + "\n")
    sources = (source(raw), source(other, capture="b", base_capture="b", split="test", attack="virut"))
    found = findings(rebuilt(tmp_path, sources))
    assert found["attack_without_positive_labels"]["evidence"]["unlabelled"] == ["b"]


def test_a_vocabulary_that_names_hosts_stops_the_run(flow_world: FlowWorld, tmp_path: Path):
    import shutil

    spoiled = FlowWorld(tmp_path, dict(flow_world.done))
    spoiled.done["build_train"] = tmp_path / "spoiled"
    shutil.copytree(flow_world.done["build_train"], spoiled.done["build_train"])
    path = spoiled.done["build_train"] / "vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ids": [7]}))
    with pytest.raises(AuditFailed, match="vocabulary_scope"):
        findings(spoiled)


@pytest.mark.parametrize(
    ("benign", "told"), [(6, "benign flows has 6: take window.window_frames"), (1, "No two benign")]
)
def test_a_data_set_of_attacks_is_refused_with_the_window_that_would_do(
    tmp_path: Path, benign: int, told: str
):
    head, *rows = nf_text(400).strip().split("\n")
    attacks = [row.replace("0,Benign", "1,DDoS") for row in rows]
    for at in (100, 250):
        attacks[at : at + benign] = [row.replace("1,DDoS", "0,Benign") for row in attacks[at : at + benign]]
    raw = tmp_path / "nf.csv"
    raw.write_text("\n".join([head, *attacks]) + "\n")
    with pytest.raises(CaptureRejected) as error:
        rebuilt(tmp_path, (source(raw),))
    assert f"no training window is benign: {2 * benign} of 400 training flows are" in str(error.value)
    assert told in str(error.value)
