"""The evaluate stage: thresholds from validation alone, every slice, undefined with its reason, bad input named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from evaluation_data import events, output, scored, windows, world

from candor.errors import ArtifactMissing, AuditFailed, DataError, SchemaMismatch, SourceMissing
from candor.flow.stage import Inputs
from candor.ids.config import EvaluationConfig
from candor.ids.evaluation import evaluate
from candor.lake.schemas import METRICS, PREDICTIONS
from candor.report.config import ReportConfig
from candor.report.site import report

FAST = EvaluationConfig(bootstrap=20, block_windows=1)
TRUTH = np.array([0] * 30 + [1] * 10 + [0] * 20)
HAPPENED = events(("v", "dos", 30.2, 39.5), ("c", "dos", 30.2, 39.5))


def good(y: np.ndarray = TRUTH, seed: int = 0, capture: str = "c") -> pl.DataFrame:
    """Validation capture v and test capture ``capture``, well separated."""
    noise = np.random.default_rng(seed).random(len(y))
    rows = pl.concat([windows("v", TRUTH, split="val", scenario=""), windows(capture, y)])
    return scored(rows, np.concatenate([TRUTH + noise * 0.5, y + noise * 0.5]), seed=seed)


def run(
    folder: Path,
    scores: pl.DataFrame | dict[str, pl.DataFrame],
    happened: pl.DataFrame = HAPPENED,
    *,
    config: EvaluationConfig = FAST,
    unlabelled: tuple[str, ...] = (),
) -> Path:
    parts = scores if isinstance(scores, dict) else {"gat": scores}
    out = output(folder)
    evaluate(config, world(folder, parts, happened, unlabelled), out)
    return out.path


def results(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "results.parquet")


def one(out: Path, metric: str, **where: object) -> dict[str, object]:
    """The one per-seed row of a metric."""
    chosen = {"capture": "", "attack": "", **where}
    rows = results(out).filter(pl.col("seed").is_not_null(), metric=metric, **chosen)
    assert len(rows) == 1
    return rows.row(0, named=True)


def test_files_have_the_lakes_schemas(tmp_path: Path) -> None:
    out = run(tmp_path, good())
    assert pq.read_schema(out / "results.parquet").equals(METRICS)
    assert pq.read_schema(out / "predictions.parquet").equals(PREDICTIONS)
    assert json.loads((out / "table.json").read_text())["rows"]
    assert (out / "operating.parquet").is_file()
    assert not (out / "metrics.parquet").exists()  # Reserved for the recorder.


def test_intervals_are_over_captures_where_a_scenario_has_several(tmp_path: Path) -> None:
    truth = np.array([0] * 30 + [1] * 30)
    rng, parts = np.random.default_rng(0), [windows("v", truth, split="val", scenario="")]
    parts += [windows(c, truth, scenario=s) for s, c in (("many", "a"), ("many", "b"), ("one", "c"))]
    noisy = pl.concat([scored(p, truth + rng.normal(0, 0.6, 60)) for p in parts])
    out = run(tmp_path, noisy, events(*((c, "dos", 30.0, 60.0) for c in "vabc")), config=FAST)
    assert one(out, "auroc", scenario="many")["interval"] == "captures"
    assert one(out, "auroc", scenario="one")["interval"] == "blocks"
    for capture in "ab":
        slice_of = {"scenario": "many", "capture": capture}
        assert one(out, "auroc", **slice_of)["interval"] == "blocks"
    assert one(out, "event_recall", scenario="many")["interval"] == "Wilson"
    notes = " ".join(json.loads((out / "table.json").read_text())["notes"])
    assert "bootstrap of captures, then of blocks of windows within them (many)" in notes


def test_windows_that_are_no_validation_graphs_choose_no_threshold(tmp_path: Path) -> None:
    honest = good()
    inputs = world(tmp_path, {"gat": honest}, HAPPENED)
    # The detector passes its test windows off as validation: the best threshold there is.
    cheat = pl.concat(
        [honest.filter(split="test").with_columns(split=pl.lit("val")), honest.filter(split="test")]
    )
    cheat.write_parquet(inputs.path("scores.gat") / "scores.parquet")
    with pytest.raises(
        AuditFailed, match=r"60 of 60 windows .* are none of the validation graphs \(first: capture c"
    ):
        evaluate(FAST, inputs, output(tmp_path))


def test_thresholds_say_what_they_were_chosen_on(tmp_path: Path) -> None:
    (record,) = json.loads((run(tmp_path, good()) / "thresholds.json").read_text())
    assert record["chosen_on"] == "val"
    assert len(record["validation_sha256"]) == 64


def test_an_allowed_error_is_a_note_of_the_table(tmp_path: Path) -> None:
    inputs = world(tmp_path, {"gat": good()}, HAPPENED)
    audit = tmp_path / "audit"
    audit.mkdir()
    finding = {"id": "scaler_scope", "severity": "error", "message": "it saw more", "evidence": {}}
    (audit / "findings.json").write_text(json.dumps({"findings": [finding], "allowed": ["scaler_scope"]}))
    out = output(tmp_path)
    evaluate(FAST, Inputs({**inputs.paths, "audit": audit}), out)
    notes = json.loads((out.path / "table.json").read_text())["notes"]
    assert "The audit's error 'scaler_scope' was allowed: it saw more" in notes


def test_events_from_absence_are_a_note_of_the_table_and_of_the_page(tmp_path: Path) -> None:
    inputs = world(tmp_path, {"gat": good()}, HAPPENED)
    told = {"capture": "c", "events": 2, "silent": {"1A0": 2}, "factors": [2.0, 2.0], "factor": "measured"}
    other = told | {"capture": "elsewhere"}
    (inputs.path("ingest") / "truth.json").write_text(
        json.dumps([told | {"reference": ["free"]}, other | {"reference": ["free"]}])
    )
    out = output(tmp_path)
    evaluate(FAST, inputs, out)
    (note,) = [n for n in json.loads((out.path / "table.json").read_text())["notes"] if "absence" in n]
    assert note.startswith("c: events from absence, not from labels: 2 in which an ID (1A0) is silent")
    page = output(tmp_path / "page")
    report(ReportConfig(), Inputs({"evaluate": out.path}), page)
    text = (page.path / "index.html").read_text()
    assert (
        text.count("c: events from absence, not from labels") == 2
    )  # Below the table, and above the events.
    assert any(
        "events from absence" in n for n in json.loads((page.path / "table.json").read_text())["notes"]
    )


def test_a_good_detector_gets_a_good_table(tmp_path: Path) -> None:
    out = run(tmp_path, good())
    for metric, value in {
        "f1": 1.0,
        "fpr": 0.0,
        "auroc": 1.0,
        "event_recall": 1.0,
        "event_recall@1/h": 1.0,
    }.items():
        assert one(out, metric)["value"] == value
    low = one(out, "f1")["low"]
    assert isinstance(low, float)
    assert low < 1.0


def test_thresholds_do_not_change_when_test_scores_change(tmp_path: Path) -> None:
    a = good()
    is_test = pl.col("split") == "test"
    b = a.with_columns(pl.when(is_test).then(100 - 7 * pl.col("score")).otherwise("score").alias("score"))
    outs = [run(tmp_path / name, df) for name, df in (("a", a), ("b", b))]
    first, second = (json.loads((o / "thresholds.json").read_text()) for o in outs)
    assert first == second
    assert one(outs[0], "f1")["value"] != one(outs[1], "f1")["value"]


def test_thresholds_do_not_change_when_test_labels_change(tmp_path: Path) -> None:
    a = good()
    flipped = pl.when(pl.col("split") == "test").then(1 - pl.col("y")).otherwise("y").cast(pl.UInt8)
    outs = [run(tmp_path / "a", a), run(tmp_path / "b", a.with_columns(flipped.alias("y")))]
    first, second = ((o / "thresholds.json").read_text() for o in outs)
    assert first == second


def test_predictions_are_the_scores_at_the_threshold(tmp_path: Path) -> None:
    out = run(tmp_path, good())
    kept = pl.read_parquet(out / "predictions.parquet")
    assert kept["split"].unique().to_list() == ["test"]
    assert len(kept) == len(TRUTH)
    assert ((kept["score"] >= kept["threshold"]).cast(pl.UInt8) == kept["prediction"]).all()


def test_results_cover_scenarios_captures_families_and_events(tmp_path: Path) -> None:
    other = scored(windows("d", TRUTH, attack="fuzzing"), TRUTH * 1.0, seed=0)
    both = events(("c", "dos", 30.2, 39.5), ("d", "fuzzing", 30.2, 39.5))
    found = results(run(tmp_path, pl.concat([good(), other]), both)).filter(pl.col("seed").is_not_null())
    places = set(found.select("capture", "attack", "level").iter_rows())
    cuts = [("", ""), ("c", ""), ("d", ""), ("", "dos"), ("", "fuzzing")]
    assert places == {(*cut, level) for cut in cuts for level in ("window", "event")}


def test_a_family_is_judged_against_the_benign_windows_of_its_own_captures(tmp_path: Path) -> None:
    """Capture d is another vehicle with 40 benign windows; they say nothing of the attack in c."""
    other = scored(windows("d", [0] * 40), np.full(40, 9.0), seed=0)
    out = run(tmp_path, pl.concat([good(), other]))
    assert one(out, "fpr", attack="dos")["value"] == 0.0
    fpr = one(out, "fpr")["value"]
    assert isinstance(fpr, float)
    assert fpr > 0.4


def test_a_capture_without_attack_is_undefined_with_the_reason(tmp_path: Path) -> None:
    out = run(tmp_path, good(np.zeros(60, int)), events(("v", "dos", 30.2, 39.5)))
    assert one(out, "fpr")["value"] == 0.0
    for metric in ("f1", "recall", "precision", "mcc", "auroc", "auc_pr"):
        row = one(out, metric)
        assert row["value"] is None
        assert row["undefined_reason"] == "no attack windows in this scenario"
    assert one(out, "event_recall")["undefined_reason"] == "no attack event in this scenario"
    assert one(out, "f1", capture="c")["undefined_reason"] == "no attack windows in this capture"


def test_a_scenario_with_only_attacks_is_undefined_where_benign_traffic_is_needed(tmp_path: Path) -> None:
    out = run(tmp_path, good(np.ones(60, int)), events(("c", "dos", 0.0, 60.0)))
    assert one(out, "recall")["value"] == 1.0
    for metric in ("fpr", "mcc", "auroc", "auc_pr"):
        assert one(out, metric)["undefined_reason"] == "no benign windows in this scenario"
    assert one(out, "false_alarms_per_hour")["undefined_reason"] == "no benign traffic in this scenario"


def test_no_value_is_ever_nan_and_every_missing_value_has_a_reason(tmp_path: Path) -> None:
    df = results(run(tmp_path, good(np.zeros(60, int))))
    assert not df["value"].is_nan().any()
    assert df.filter(pl.col("value").is_null())["undefined_reason"].is_not_null().all()


def test_suppression_is_judged_by_events_and_left_out_of_window_metrics(tmp_path: Path) -> None:
    """No frame is forged, so no window is labelled: flagging one is neither a hit nor a false alarm."""
    score = np.zeros(60)
    score[30:40] = 9.0
    rows = scored(windows("c", [0] * 60), score, seed=0)
    val = good().filter(pl.col("split") == "val")
    out = run(tmp_path, pl.concat([val, rows]), events(("c", "suppress", 30.2, 39.5)))
    assert one(out, "event_recall", attack="suppress")["value"] == 1.0
    assert one(out, "fpr")["value"] == 0.0
    assert one(out, "fpr")["windows"] == 50
    assert one(out, "recall", attack="suppress")["undefined_reason"] == (
        "no attack windows of family 'suppress' in this scenario"
    )
    assert one(out, "false_alarms_per_hour")["value"] == 0.0


def test_an_unlabelled_capture_is_undefined_and_stays_out_of_its_scenario(tmp_path: Path) -> None:
    loud = scored(windows("u", [0] * 40), np.full(40, 9.0), seed=0)
    out = run(tmp_path, pl.concat([good(), loud]), unlabelled=("u",))
    assert one(out, "fpr", capture="u")["undefined_reason"] == "the capture carries no labels"
    assert one(out, "fpr")["value"] == 0.0
    assert "u" in pl.read_parquet(out / "predictions.parquet")["capture"].to_list()


def test_seeds_are_averaged_with_their_spread(tmp_path: Path) -> None:
    parts = {}
    for seed in (1, 2, 3):
        worse = good(seed=seed).with_columns(
            pl.when((pl.col("split") == "test") & (pl.col("window") < 2 * seed))
            .then(9.0)
            .otherwise("score")
            .alias("score")
        )
        parts[f"s{seed}"] = worse
    out = run(tmp_path, parts)
    per_seed = results(out).filter(pl.col("seed").is_not_null(), metric="f1", capture="", attack="")["value"]
    mean = (
        results(out).filter(pl.col("seed").is_null(), metric="f1", capture="", attack="").row(0, named=True)
    )
    assert len(per_seed) == mean["seeds"] == 3
    assert mean["value"] == pytest.approx(per_seed.mean())
    assert mean["sd"] == pytest.approx(per_seed.std())
    assert "±" in str(json.loads((out / "table.json").read_text())["rows"])


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    mean = results(run(tmp_path, good())).filter(pl.col("seed").is_null(), metric="f1", capture="", attack="")
    assert mean["sd"].to_list() == [None]


def test_calibration_windows_count_unless_excluded(tmp_path: Path) -> None:
    rows = pl.concat([windows("v", TRUTH, split="val", scenario=""), windows("c", TRUTH, calibration=10)])
    df = scored(rows, np.concatenate([TRUTH, TRUTH]), seed=0)
    assert one(run(tmp_path / "a", df), "f1")["windows"] == 60
    without = FAST.model_copy(update={"exclude_calibration": True})
    assert one(run(tmp_path / "b", df, config=without), "f1")["windows"] == 50


def test_validation_without_attacks_falls_back_with_a_recorded_reason(tmp_path: Path) -> None:
    df = good().with_columns(
        pl.when(pl.col("split") == "val").then(0).otherwise("y").cast(pl.UInt8).alias("y")
    )
    out = run(tmp_path, df, events(("c", "dos", 30.2, 39.5)))
    chosen = json.loads((out / "thresholds.json").read_text())[0]
    assert chosen["rule"] == "max_fpr"
    assert chosen["reason"] == "validation holds no attack windows"
    assert chosen["f1"] is None


def test_a_validation_too_short_for_a_rate_says_so(tmp_path: Path) -> None:
    chosen = json.loads((run(tmp_path, good()) / "thresholds.json").read_text())[0]
    assert all("no false alarm allowed" in rate["reason"] for rate in chosen["at_rates"])


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = (run(tmp_path / name, good()) for name in "ab")
    assert results(a).equals(results(b))


def test_a_nan_score_is_an_error_that_names_detector_and_capture(tmp_path: Path) -> None:
    df = good().with_columns(
        pl.when((pl.col("split") == "test") & (pl.col("window") == 7))
        .then(float("nan"))
        .otherwise("score")
        .alias("score")
    )
    with pytest.raises(DataError, match=r"gat teacher.*capture c, window 7"):
        run(tmp_path, df)


@pytest.mark.parametrize(("split", "name"), [("val", "validation"), ("test", "test")])
def test_a_missing_split_is_an_error_that_names_the_detector(tmp_path: Path, split: str, name: str) -> None:
    with pytest.raises(DataError, match=f"no {name} windows.*gat teacher, seed 0"):
        run(tmp_path, good().filter(pl.col("split") != split))


def test_validation_of_attacks_only_is_an_error(tmp_path: Path) -> None:
    df = good().with_columns(
        pl.when(pl.col("split") == "val").then(1).otherwise("y").cast(pl.UInt8).alias("y")
    )
    with pytest.raises(DataError, match="every validation window is an attack"):
        run(tmp_path, df)


def test_a_detector_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scored twice"):
        run(tmp_path, {"a": good(), "b": good()})


def test_wrong_columns_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match="calibration"):
        run(tmp_path, good().drop("calibration"))


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    inputs = world(tmp_path, {"gat": good()}, HAPPENED)
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(FAST, Inputs({"ingest": inputs.path("ingest")}), output(tmp_path))
    with pytest.raises(ArtifactMissing, match="ingest"):
        evaluate(FAST, Inputs({"scores.a": inputs.path("scores.gat")}), output(tmp_path))
    (inputs.path("ingest") / "events.parquet").unlink()
    with pytest.raises(SourceMissing, match=r"events\.parquet"):
        evaluate(FAST, inputs, output(tmp_path))
