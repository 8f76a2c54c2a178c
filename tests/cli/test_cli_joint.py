"""``candor joint``: one classifier for a bus and a network, compared on each with one that has it alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flow_world import PRESET, make_traffic

from candor.cli.main import main

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
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CANDOR_DATA_ROOT", "CANDOR_CACHE_ROOT", "CANDOR_RUN_ROOT", "CANDOR_SHARED_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)
    presets = tmp_path / "data" / "presets" / "datasets"
    presets.mkdir(parents=True)
    (presets / "tiny_net.yaml").write_text(PRESET)
    make_traffic(tmp_path / "data" / "tiny_net" / "traffic.csv")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as done:
        main(list(argv))
    said = capsys.readouterr()
    assert (done.value.code or 0) == code, said.err
    return said.out, said.err


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
