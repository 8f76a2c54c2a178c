"""Single flows are judged without hosts: what has no addresses is refused for graphs and accepted here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from flow_world import FlowWorld, make_flow_world, source
from tiny_world import output

from candor.errors import DataError
from candor.flow.stage import Inputs
from candor.ids.baselines.tabular import RESULTS, tabular_flows
from candor.ids.captures.flows.config import FlowIngestConfig, FlowSource
from candor.ids.captures.flows.ingest import ingest_flows
from candor.ids.config import BaselinesConfig, EvaluationConfig, TabularConfig

pytest.importorskip("sklearn")

SMALL = TabularConfig(
    baselines=BaselinesConfig(boosting_rounds=30, forest_trees=30), evaluation=EvaluationConfig(bootstrap=20)
)
HEAD = (
    " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets,"
    " Total Length of Bwd Packets, Label\n"
)


def without_addresses(path: Path, *, flows: int = 1000, attacks: float = 0.2, port: bool = False) -> Path:
    """Flows in the layout of MachineLearningCVE; attacks are single packets, or differ by their port alone."""
    rng = np.random.default_rng(1)
    lines = []
    for attack in rng.random(flows) < attacks:
        size, packets = int(rng.integers(60, 9000)), int(rng.integers(2, 30))
        if attack and not port:
            size, packets = 40, 1
        label = "PortScan" if attack else "BENIGN"
        lines.append(f"{22 if attack else 80},{int(rng.integers(1, 999))},{packets},1,{size},60,{label}\n")
    path.write_text(HEAD + "".join(lines))
    return path


def halves(raw: Path) -> tuple[FlowSource, FlowSource]:
    return (
        source(raw, capture="early", base_capture="r", part=(0.0, 0.6)),
        source(raw, capture="late", base_capture="r", part=(0.65, 1.0), split="test", scenario="later"),
    )


def judged(root: Path, *sources: FlowSource, config: TabularConfig = SMALL) -> pl.DataFrame:
    world = FlowWorld(root)
    world.run("ingest", ingest_flows, FlowIngestConfig(dataset="d", sources=sources))
    return pl.read_parquet(world.run("tabular", tabular_flows, config, "ingest") / "results.parquet")


def value(results: pl.DataFrame, detector: str, metric: str) -> float:
    return float(results.filter(detector=detector, metric=metric)["value"].item())


def test_flows_without_addresses_are_judged(tmp_path: Path) -> None:
    results = judged(tmp_path, *halves(without_addresses(tmp_path / "ml.csv")))
    assert results.schema == pl.Schema(RESULTS)
    assert set(results["scenario"]) == {"later"}
    assert results["flows"].unique().to_list() == [350]
    assert value(results, "boosted_trees", "auroc") > 0.99
    assert value(results, "boosted_trees", "f1") > 0.95
    assert value(results, "isolation_forest", "auroc") > 0.8
    bounds = results.filter(detector="boosted_trees", metric="fpr").row(0, named=True)
    assert bounds["low"] <= bounds["value"] <= bounds["high"]


def test_a_port_is_no_measure(tmp_path: Path) -> None:
    """Attacks that only their port tells are not found: a port names the attacked service."""
    results = judged(tmp_path, *halves(without_addresses(tmp_path / "ml.csv", port=True)))
    assert 0.4 < value(results, "boosted_trees", "auroc") < 0.6


def test_flows_with_addresses_are_judged_too_and_their_keys_change_nothing(tmp_path: Path) -> None:
    worlds = [make_flow_world(tmp_path / str(seed), host_seed=seed) for seed in (1, 2)]
    tables = [
        pl.read_parquet(world.run("tabular", tabular_flows, SMALL, "ingest") / "results.parquet")
        for world in worlds
    ]
    assert tables[0].equals(tables[1])
    assert value(tables[0], "boosted_trees", "auroc") > 0.99


def test_the_threshold_comes_from_the_end_of_training(tmp_path: Path) -> None:
    """Test flows change no threshold: it is the same whatever is tested."""
    raw, other = without_addresses(tmp_path / "ml.csv"), without_addresses(tmp_path / "o.csv", attacks=0.9)
    world, said = FlowWorld(tmp_path), []
    early, late = halves(raw)
    foreign = source(other, capture="late", base_capture="o", split="test", scenario="later")
    for tested in (late, foreign):
        world.run("ingest", ingest_flows, FlowIngestConfig(dataset="d", sources=(early, tested)))
        out = output(tmp_path / f"tabular-{tested.base_capture}")
        result = tabular_flows(SMALL, Inputs({"ingest": world.done["ingest"]}), out)
        said.append({k: result.summary[k] for k in ("train_flows", "val_flows", "boosted_trees")})
    assert said[0] == said[1]
    assert (said[0]["train_flows"], said[0]["val_flows"]) == (480, 120)


@pytest.mark.parametrize(("attacks", "says"), [(0.0, "0 of 480"), (1.0, "480 of 480")])
def test_one_class_is_refused_with_what_to_do(tmp_path: Path, attacks: float, says: str) -> None:
    raw = without_addresses(tmp_path / "ml.csv", attacks=attacks)
    with pytest.raises(DataError, match=says) as raised:
        judged(tmp_path, *halves(raw))
    assert "isolation_forest" in (raised.value.hint or "")


def test_a_data_set_without_test_captures_is_refused(tmp_path: Path) -> None:
    raw = without_addresses(tmp_path / "ml.csv")
    with pytest.raises(DataError, match="no test capture"):
        judged(tmp_path, source(raw, capture="all"))
