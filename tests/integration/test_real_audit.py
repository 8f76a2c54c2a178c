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
    assert "injection_time_steps" not in found
    # Real epochs that overlap between vehicles.
    assert found["times_overlap"]["evidence"]["one_start"] is False
    assert {"fuzzing-kia", "attack-free-sonata"} <= set(found["times_overlap"]["evidence"]["captures"])


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
    # Attacks were merged into recordings: time stands still, or goes back, at attack frames and nowhere else.
    steps = found["injection_time_steps"]["evidence"]["captures"]
    assert {c: (s["still"], s["at_attacks"]) for c, s in steps.items()} == {
        "DoS-1": (10, 10),
        "DoS-2": (41, 41),
        "DoS-3": (25, 25),
        "systematic-4": (3, 3),
        "targeted_payload_fuzzing-2": (59, 59),
    }
    assert found["time_reversals"]["evidence"]["captures"] == {"targeted_payload_fuzzing-2": 56}
    # Every capture restarts on 1 January 2023.
    times = found["times_overlap"]["evidence"]
    assert (len(times["captures"]), times["one_start"]) == (7, True)
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
    assert found["captures_without_time"]["evidence"]["captures"] == ["benign", "DoS", "spoofing-GAS"]
    assert found["constant_length"]["evidence"]["captures"] == ["benign"]


def test_j1939_address_claim_has_two_attack_frames_in_all(shared_data: Path, tmp_path: Path) -> None:
    found = {f["id"]: f for f in audited(tmp_path, "j1939_attack")["findings"]}
    assert found["few_attacks"]["evidence"]["captures"] == {"address_claim": 2}


ROAD = """\
name: road_pack
title: The ROAD captures of the pack
domain: can
licence: see road
citation: see road
obtain: see road
packs: [can/dataset=road_statgraph]
captures:
  - {capture: attack_1, path: masquerade/correlated_signal_attack_1, split: train, vehicle: road, attack: masquerade}
  - {capture: attack_3, path: masquerade/correlated_signal_attack_3, split: test, scenario: s, vehicle: road, attack: masquerade}
"""


def test_road_of_the_pack_lost_its_times_and_its_lengths(shared_data: Path, tmp_path: Path) -> None:
    presets = tmp_path / "data" / "presets" / "datasets"
    presets.mkdir(parents=True)
    (presets / "road_pack.yaml").write_text(ROAD)
    found = {f["id"]: f for f in audited(tmp_path, "road_pack")["findings"]}
    for name in ("captures_without_time", "constant_length"):
        assert found[name]["evidence"]["captures"] == ["attack_1", "attack_3"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("unsw_nb15", {"temporal_split", "shortcuts", "validation_without_attack"}),
        ("cicids2017", {"sampled_traffic", "mostly_attack_windows", "temporal_split", "shortcuts"}),
        ("iot23", {"few_attacks", "mostly_attack_windows", "repeated_flows", "temporal_split", "shortcuts"}),
    ],
)
def test_flow_samples_are_what_their_provenance_says(
    shared_data: Path, tmp_path: Path, dataset: str, expected: set[str]
) -> None:
    told = audited(tmp_path, dataset)
    assert {f["id"] for f in told["findings"]} == expected
    best = next(f for f in told["findings"] if f["id"] == "shortcuts")["evidence"]["auroc"]
    assert max(best["source_address"], best["destination_address"]) > 0.98
    if dataset == "iot23":
        few = next(f for f in told["findings"] if f["id"] == "few_attacks")
        assert few["evidence"]["captures"] == {"malware-42-1": 6}
