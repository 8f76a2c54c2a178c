"""The main job on real captures holds what docs/results.md shows (one seed here; `make results` runs three)."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from kd_run import Candor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hcrl(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Candor:
    candor = Candor(tmp_path_factory.mktemp("real"))
    candor(
        *("run", "kd", "--dataset", "hcrl_sa"),
        *("--set", "training.threads=1", "--set", "evaluation.bootstrap=50"),
    )
    return candor


def fused(candor: Candor, level: str, metric: str) -> pl.DataFrame:
    table = pl.read_parquet(candor.artifact("evaluate") / "results.parquet")
    return table.filter(
        pl.col("detector") == "fusion",
        pl.col("level") == level,
        pl.col("metric") == metric,
        pl.col("attack") == "",
        pl.col("seed").is_not_null(),
    )


def test_known_attacks_on_known_vehicles_are_found_by_teacher_and_student(hcrl: Candor):
    f1 = fused(hcrl, "window", "f1").filter(scenario="known_vehicle_known_attack", capture="")
    scores = dict(f1.select("variant", "value").iter_rows())
    assert min(scores["teacher"], scores["student_kd"]) >= 0.995
    assert scores["student_kd"] >= scores["teacher"] - 0.01


def test_every_test_capture_is_ranked_right_the_unknown_vehicle_included(hcrl: Candor):
    auroc = fused(hcrl, "window", "auroc").filter(pl.col("capture") != "")
    assert auroc["capture"].n_unique() == 7
    assert auroc.filter(pl.col("capture").str.contains("(?i)spark")).height == 3 * 3
    assert auroc["value"].min() >= 0.97


def test_the_unknown_vehicle_does_not_alarm_on_every_window(hcrl: Candor):
    fpr = fused(hcrl, "window", "fpr").filter(
        pl.col("scenario").str.starts_with("unknown_vehicle"), capture=""
    )
    assert fpr["value"].max() <= 0.05


def test_the_student_is_small_and_has_at_most_a_tenth_of_the_teachers_parameters(hcrl: Candor):
    totals = {}
    for record in (hcrl.root / "cache" / "artifacts" / "score").glob("*/record.json"):
        known = json.loads(record.read_text())
        totals[known["science"]["variant"]] = known["summary"]["parameters"]["total"]
    assert totals["student_kd"] <= min(100_000, totals["teacher"] / 10)
    assert totals["student"] == totals["student_kd"]


def test_the_audit_finds_the_mislabelled_frames_and_lets_the_run_pass(hcrl: Candor):
    findings = json.loads((hcrl.artifact("audit") / "findings.json").read_text())["findings"]
    assert not [f for f in findings if f["severity"] == "error"]
    noise = next(f for f in findings if f["id"] == "label_sanity")
    assert "fuzzing-Spark" in json.dumps(noise)
    assert "92" in json.dumps(noise)


def test_set_01_plans_from_the_shared_captures(shared_data: Path, tmp_path: Path):
    told = json.loads(Candor(tmp_path)("run", "kd", "--dataset", "set_01", "--dry-run", "--json").stdout)
    assert {t["stage"] for t in told["tasks"]} >= {"ingest", "audit", "curriculum", "report"}
