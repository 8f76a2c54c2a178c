"""The audit finds on real sets what their provenance says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kd_run import Candor

pytestmark = pytest.mark.slow


def audited(root: Path, dataset: str) -> dict[str, Any]:
    return dict(json.loads(Candor(root)("audit", dataset, "--json").stdout))


def test_hcrl_sa_files_its_attack_free_recordings_twice_and_mislabels_92_frames(
    shared_data: Path, tmp_path: Path
) -> None:
    told = audited(tmp_path, "hcrl_sa")
    found = {f["id"]: f for f in told["findings"]}
    assert not [f for f in told["findings"] if f["severity"] == "error"]
    places = found["recording_filed_again"]["evidence"]["places"]
    assert {(p["capture"], p["place"], p["compared"]) for p in places} == {
        (f"attack-free-{car}", f"train_02_with_attacks/attack-free-{car}", "identical frames")
        for car in ("kia", "sonata")
    }
    assert found["label_sanity"]["evidence"]["captures"]["fuzzing-Spark"]["frames"] == 92
    assert told["shared_runs"]["pairs"] == []
    aurocs = {(m["capture"], m["shortcut"]): m["auroc"] for m in told["shortcuts"]}
    assert aurocs["DoS-sonata", "id"] > 0.999
    assert {round(v, 2) for (_, s), v in aurocs.items() if s == "delta_t"} == {0.5}


def test_systematic_4_of_set_01_is_known_in_set_02_and_compared_where_that_file_is_here(
    shared_data: Path, tmp_path: Path
) -> None:
    places = _elsewhere(tmp_path / "alone")
    assert places == {("set_02", "test_01_known_vehicle_known_attack/systematic-4"): "not on this machine"}
    folder = tmp_path / "both" / "data" / "set_02" / "test_01_known_vehicle_known_attack"
    folder.mkdir(parents=True)
    same = (
        shared_data / "can/dataset=set_01/split=test_04_unknown_vehicle_unknown_attack/systematic-4.parquet"
    )
    (folder / "systematic-4.parquet").symlink_to(same)
    assert list(_elsewhere(tmp_path / "both").values()) == ["identical frames"]


def _elsewhere(root: Path) -> dict[tuple[str, str], str]:
    found = {f["id"]: f for f in audited(root, "set_01")["findings"]}
    copies = found["recording_filed_again"]["evidence"]["places"]
    assert {(p["capture"], p["compared"]) for p in copies} == {
        ("accessory-1", "identical frames"),
        ("accessory-2", "identical frames"),
    }
    other = found["recording_in_other_dataset"]
    assert other["severity"] == "warning"
    return {(p["dataset"], p["place"]): p["compared"] for p in other["evidence"]["places"]}


def test_ciciov2024_gives_its_labels_away_by_file_by_id_and_by_payload(
    shared_data: Path, tmp_path: Path
) -> None:
    told = audited(tmp_path, "ciciov2024")
    found = {f["id"]: f for f in told["findings"]}
    assert found["one_class_captures"]["evidence"]["captures"] == ["DoS", "spoofing-GAS"]
    aurocs = {(m["capture"], m["shortcut"]): m["auroc"] for m in told["shortcuts"]}
    assert aurocs["spoofing-GAS", "id"] == pytest.approx(1.0)
    assert aurocs["spoofing-GAS", "payload"] == pytest.approx(1.0)
