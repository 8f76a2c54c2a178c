"""Adapted thresholds in the evaluator: who is touched, what is read, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from evaluation_data import events, output, scored, windows, world

from candor.ids.config import CalibrationAdaptation, EvaluationConfig, NoAdaptation, UnionConfig
from candor.ids.evaluation import evaluate

FAST = EvaluationConfig(bootstrap=5, block_windows=1, unions=())
PLAIN = FAST.model_copy(update={"adaptation": NoAdaptation()})
TRUTH = np.array([0] * 150 + [1] * 50)
HAPPENED = events(*((c, "dos", 149.5, 200.0) for c in ("v", "known", "new")))
RNG = np.random.default_rng(5)


def traffic(unrest: float = 0.0, *, attack: float = 20.0, name: str = "vgae") -> pl.DataFrame:
    """Validation v, test capture ``known``, and ``new``, calibrated on its own first 60 windows, where all scores lie higher."""
    rows = pl.concat(
        [
            windows("v", TRUTH, split="val", scenario=""),
            windows("known", TRUTH, scenario="known"),
            windows("new", TRUTH, scenario="new", calibration=60),
        ]
    )
    seen = np.concatenate([TRUTH * attack + RNG.random(200) for _ in range(3)])
    # Some of validation's attacks are hard to see: the threshold lies close to its benign scores.
    seen[:200] = TRUTH * np.where(np.arange(200) < 180, 20, 1.5) + RNG.random(200)
    seen[400:] += unrest
    return scored(rows, seen, detector=name)


def run(folder: Path, scores: pl.DataFrame, config: EvaluationConfig = FAST) -> Path:
    out = output(folder)
    parts = {str(d[0]): p for d, p in scores.partition_by("detector", as_dict=True).items()}
    evaluate(config, world(folder, parts, HAPPENED), out)
    return out.path


def value(out: Path, metric: str, scenario: str, detector: str = "vgae") -> float:
    rows = pl.read_parquet(out / "results.parquet")
    rows = rows.filter(
        pl.col("seed").is_not_null(),
        metric=metric,
        scenario=scenario,
        capture="",
        attack="",
        detector=detector,
    )
    assert len(rows) == 1
    return float(rows["value"].to_numpy()[0])


def test_an_unknown_vehicle_stops_alarming_and_both_figures_are_told(tmp_path: Path) -> None:
    out = run(tmp_path, traffic(unrest=3.0))
    assert value(out, "fpr@plain", "new") == 1
    assert value(out, "fpr", "new") == 0
    assert value(out, "recall", "new") == 1
    assert value(out, "false_alarms_per_hour", "new") == 0
    notes = json.loads((out / "table.json").read_text())["notes"]
    assert any("At validation's own thresholds, new: vgae teacher F1 0.400, FPR 1." in n for n in notes)
    told = pl.read_parquet(out / "adapted.parquet").row(0, named=True)
    assert (told["capture"], told["windows"]) == ("new", 60)
    assert told["adapted"] == told["floor"] > told["threshold"]


def test_predictions_name_the_threshold_that_decided_each_window(tmp_path: Path) -> None:
    out = run(tmp_path, traffic(unrest=3.0))
    p = pl.read_parquet(out / "predictions.parquet")
    assert ((p["score"] >= p["threshold"]) == p["prediction"].cast(bool)).all()
    at = {c: set(part["threshold"]) for (c,), part in p.partition_by("capture", as_dict=True).items()}
    assert at["known"] != at["new"]
    assert all(len(v) == 1 for v in at.values())


def test_a_known_vehicle_is_judged_as_without_adaptation(tmp_path: Path) -> None:
    table = traffic(unrest=3.0)
    found = []
    for name, config in (("with", FAST), ("without", PLAIN)):
        rows = pl.read_parquet(run(tmp_path / name, table, config) / "results.parquet")
        found.append(rows.filter(scenario="known"))
    assert found[0].equals(found[1])
    assert not found[0]["metric"].str.ends_with("@plain").any()


def test_without_adaptation_nothing_is_moved_and_the_page_says_so(tmp_path: Path) -> None:
    out = run(tmp_path, traffic(unrest=3.0), PLAIN)
    assert value(out, "fpr", "new") == 1
    assert pl.read_parquet(out / "adapted.parquet").is_empty()
    assert json.loads((out / "thresholds.json").read_text())[0]["adaptation"] == {"kind": "none"}
    assert any("from validation alone" in n for n in json.loads((out / "table.json").read_text())["notes"])


def test_a_threshold_is_never_lowered(tmp_path: Path) -> None:
    out = run(tmp_path, traffic(unrest=-5.0))
    told = pl.read_parquet(out / "adapted.parquet").row(0, named=True)
    assert told["floor"] < told["threshold"] == told["adapted"]
    for metric in ("f1", "fpr", "auroc"):
        assert value(out, metric, "new") == value(out, f"{metric}@plain", "new")


def test_only_scores_and_times_of_calibration_windows_move_a_threshold_and_never_a_label(
    tmp_path: Path,
) -> None:
    table = traffic(unrest=3.0)
    is_test, first = pl.col("split") == "test", pl.col("calibration")
    turned = pl.when(is_test).then(1 - pl.col("y")).otherwise("y").cast(pl.UInt8)
    family = pl.when(is_test).then(pl.lit("other")).otherwise("attack")
    later = pl.when(is_test & ~first).then(-7 * pl.col("score")).otherwise("score")
    worlds = {
        "as it is": table,
        "other labels": table.with_columns(y=turned, attack=family),
        "other later scores": table.with_columns(score=later),
        "other calibration scores": table.with_columns(
            score=pl.when(first).then(pl.col("score") + 1).otherwise("score")
        ),
    }
    chosen = {
        name: pl.read_parquet(run(tmp_path / name, each) / "adapted.parquet") for name, each in worlds.items()
    }
    assert chosen["other labels"].equals(chosen["as it is"])
    assert chosen["other later scores"].equals(chosen["as it is"])
    assert not chosen["other calibration scores"].equals(chosen["as it is"])


def test_scores_like_known_attacks_are_not_taken_for_ordinary(tmp_path: Path) -> None:
    out = run(tmp_path, traffic(unrest=40.0))
    assert value(out, "fpr", "new") == 1
    assert "like attacks" in pl.read_parquet(out / "adapted.parquet")["reason"].to_list()[0]


def test_an_attack_inside_the_calibration_seconds_is_still_found(tmp_path: Path) -> None:
    table = traffic(unrest=0.0)
    begun = (pl.col("capture") == "new") & pl.col("window").is_between(20, 40)
    table = table.with_columns(
        y=pl.when(begun).then(1).otherwise("y").cast(pl.UInt8),
        attack=pl.when(begun).then(pl.lit("dos")).otherwise("attack"),
        score=pl.when(begun).then(pl.col("score") + 20).otherwise("score"),
    )
    assert value(run(tmp_path, table), "recall", "new") == 1


def test_a_member_that_is_restless_on_a_new_vehicle_does_not_silence_the_member_that_sees_the_attack(
    tmp_path: Path,
) -> None:
    quiet = traffic(name="novelty", attack=4.0)
    restless = traffic(unrest=8.0, attack=0.0, name="vgae")
    config = FAST.model_copy(update={"unions": (UnionConfig(name="or", members=("vgae", "novelty")),)})
    out = run(tmp_path, pl.concat([quiet, restless]), config)
    assert value(out, "fpr@plain", "new", "or") == 1
    assert value(out, "fpr", "new", "or") == 0
    assert value(out, "recall", "new", "or") == 1
    assert value(out, "auroc", "new", "or") == 1
    members = pl.read_parquet(out / "adapted.parquet").filter(detector="or")["member"].to_list()
    assert members == ["vgae", "novelty"]
    units = next(t for t in json.loads((out / "thresholds.json").read_text()) if t["detector"] == "or")
    assert set(units["adaptation"]["members"]) == {"vgae", "novelty"}


def test_leaving_out_the_calibration_windows_leaves_the_floor_where_it_was(tmp_path: Path) -> None:
    table = traffic(unrest=3.0)
    out = [
        run(tmp_path / str(without), table, FAST.model_copy(update={"exclude_calibration": without}))
        for without in (False, True)
    ]
    one, other = (pl.read_parquet(o / "adapted.parquet") for o in out)
    assert one.equals(other)
    counted = [pl.read_parquet(o / "predictions.parquet").filter(capture="new").height for o in out]
    assert counted == [200, 140]


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_the_margin_is_the_configs(tmp_path: Path, margin: float) -> None:
    config = FAST.model_copy(update={"adaptation": CalibrationAdaptation(margin=margin)})
    out = run(tmp_path, traffic(unrest=3.0), config)
    unit = json.loads((out / "thresholds.json").read_text())[0]["adaptation"]
    told = pl.read_parquet(out / "adapted.parquet").row(0, named=True)
    assert unit["margin"] == margin
    typical = told["floor"] - margin * unit["spread"]
    assert 3.5 < typical < 4.0
