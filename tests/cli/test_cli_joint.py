"""``candor joint``: one classifier for a bus and a network, compared on each with one that has it alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import run
from flow_world import PRESET, make_traffic

SMALL = (
    "gat.hidden=8",
    "gat.layers=1",
    "gat.conv.num_heads=2",
    "training.max_epochs=2",
    "training.device=cpu",
    "training.threads=1",
    "evaluation.bootstrap=10",
    "synthetic.vehicles=1",
    "synthetic.ids_per_vehicle=10",
    "synthetic.benign_s=20",
    "synthetic.attack_s=20",
)


@pytest.fixture(autouse=True)
def root(empty_machine: Path) -> Path:
    presets = empty_machine / "data" / "presets" / "datasets"
    presets.mkdir(parents=True)
    (presets / "tiny_net.yaml").write_text(PRESET)
    make_traffic(empty_machine / "data" / "tiny_net" / "traffic.csv")
    return empty_machine


@pytest.mark.slow
def test_one_classifier_serves_a_bus_and_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [part for value in SMALL for part in ("--set", value)]
    out, _ = run(capsys, "joint", "synthetic", "tiny_net", *sets)
    for name in ("synthetic", "tiny_net"):
        assert f"One classifier for all, and one for {name} alone" in out
    assert "auroc in later_time: joint less alone" in out
    told = json.loads(run(capsys, "joint", "synthetic", "tiny_net", *sets, "--json")[0])
    for found in told["datasets"].values():
        variants = {row[2] for row in found["table"]["rows"]}
        assert variants == {"joint", "alone"}
        assert Path(found["page"]).is_file()


def test_one_dataset_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = run(capsys, "joint", "tiny_net", code=2)
    assert "one data set is no two domains" in err
