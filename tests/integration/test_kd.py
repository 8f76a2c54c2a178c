"""The main job end to end, as a person starts it: on a tiny simulated world, in processes of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from kd_run import KD, TINY, Candor
from waiting import wait_while

from candor.ids.controls import NAMES as CONTROLS

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).with_name("golden_kd.json")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Candor, str]:
    """An undisturbed run and what it printed."""
    candor = Candor(tmp_path_factory.mktemp("kd"))
    return candor, candor.apart(*KD).stdout


def results(candor: Candor) -> pl.DataFrame:
    return pl.read_parquet(candor.artifact("evaluate") / "results.parquet")


def test_the_run_ends_with_a_table_per_scenario_and_the_path_of_a_page(done: tuple[Candor, str]):
    _, printed = done
    for word in (
        "known_vehicle_known_attack",
        "unknown_vehicle_unknown_attack",
        "fusion",
        "student_kd",
        "AUROC",
    ):
        assert word in printed
    for control in ("id_whitelist", "payload_whitelist", "timing", "volume", "position"):
        assert control in printed
    page = Path(printed.strip().splitlines()[-1].partition("Summary page: ")[2])
    html = page.read_text()
    assert page.name == "index.html"
    assert html.count("<svg") >= 3
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_the_same_run_again_does_nothing_says_so_and_loads_no_torch(done: tuple[Candor, str]):
    candor, printed = done
    before = {p: p.stat().st_mtime_ns for p in candor.root.rglob("record.json")}
    again = candor.run_kd().stdout
    assert "Nothing to do: all 24 tasks" in again
    assert again.strip().splitlines()[-1] == printed.strip().splitlines()[-1]
    assert {p: p.stat().st_mtime_ns for p in candor.root.rglob("record.json")} == before
    probe = (
        "import sys; from candor.cli.main import main\n"
        "try: main(sys.argv[1:])\nfinally: assert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    assert (
        subprocess.run([sys.executable, "-c", probe, *KD], env=candor.env, capture_output=True).returncode
        == 0
    )


def test_one_changed_field_reruns_exactly_what_depends_on_it(done: tuple[Candor, str]):
    candor, _ = done
    told = json.loads(candor.run_kd("distillation.temperature=2.0", more=["--dry-run", "--json"]).stdout)
    fresh = {t["task"] for t in told["tasks"] if t["state"] != "cached"}
    lane = {f"{s}.student_kd.s1" for s in ("autoencoder", "curriculum", "fusion", "score")}
    assert fresh == lane | {"evaluate", "report"}


def test_every_detector_is_scored_on_the_same_windows_and_thresholds_come_from_validation(
    done: tuple[Candor, str],
):
    candor, _ = done
    predictions = pl.read_parquet(candor.artifact("evaluate") / "predictions.parquet")
    counts = predictions.group_by("detector", "variant", "seed").len()
    assert counts["len"].n_unique() == 1
    # Models and the OR of the unsupervised, specialists and their OR, baselines, controls.
    assert len(counts) == 3 * 4 + 5 + 3 + len(CONTROLS)
    # One threshold, except on captures whose own calibration seconds may have raised it.
    adapted = pl.read_parquet(candor.artifact("evaluate") / "adapted.parquet")
    own = pl.col("capture").is_in(adapted["capture"].unique().to_list())
    key = ["detector", "variant", "seed"]
    validations = predictions.filter(~own).group_by(key).agg(pl.col("threshold").unique())
    assert (validations["threshold"].list.len() == 1).all()
    raised = predictions.filter(own).join(validations.explode("threshold"), on=key, suffix="_of_validation")
    assert len(raised)
    assert (raised["threshold"] >= raised["threshold_of_validation"]).all()
    assert (
        (predictions["score"] >= predictions["threshold"]) == predictions["prediction"].cast(pl.Boolean)
    ).all()


def test_undefined_metrics_carry_their_reason_and_no_number(done: tuple[Candor, str]):
    table = results(done[0])
    undefined = table.filter(pl.col("value").is_null())
    assert len(undefined) > 0
    assert undefined["undefined_reason"].is_not_null().all()
    assert not table["value"].drop_nulls().is_nan().any()


def test_the_tables_of_the_lake_have_their_schemas(done: tuple[Candor, str]):
    import pyarrow.parquet as pq

    from candor.lake import schemas

    candor, _ = done
    evaluate, ingest = candor.artifact("evaluate"), candor.artifact("ingest")
    assert pq.read_schema(evaluate / "predictions.parquet").names == schemas.PREDICTIONS.names
    assert pq.read_schema(evaluate / "results.parquet").names == schemas.METRICS.names
    assert pq.read_schema(ingest / "catalog.parquet").names == schemas.CAPTURES.names


def test_nothing_that_was_written_is_a_pickle(done: tuple[Candor, str]):
    allowed = {
        ".parquet",
        ".npy",
        ".json",
        ".jsonl",
        ".safetensors",
        ".html",
        ".md",
        ".txt",
        ".csv",
        ".log",
        ".gz",
        "",
    }
    cache = done[0].root / "cache" / "artifacts"
    assert {p.suffix for p in cache.rglob("*") if p.is_file()} <= allowed
    assert not any(p.read_bytes()[:2] == b"\x80\x04" for p in cache.rglob("*") if p.is_file())


def test_training_curves_match_the_golden_run(done: tuple[Candor, str]):
    """Pins the numerics of data, models and training; CANDOR_UPDATE_GOLDEN=1 writes them anew after a meant change."""
    curves = {}
    for stage, metric in (("autoencoder", "val_loss"), ("curriculum", "val_loss"), ("fusion", "reward")):
        for folder in (done[0].root / "cache" / "artifacts" / stage).iterdir():
            rows = pl.read_parquet(folder / "metrics.parquet").filter(pl.col("metric") == metric).sort("step")
            curves[rows["task"][0]] = [round(v, 5) for v in rows["value"]]
    if os.environ.get("CANDOR_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(dict(sorted(curves.items())), indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert curves.keys() == golden.keys()
    for task, values in golden.items():
        assert curves[task] == pytest.approx(values, rel=0.05, abs=0.02), task


def test_an_ablation_computes_once_what_its_axis_does_not_touch(done: tuple[Candor, str], tmp_path: Path):
    # A copy: other tests look for the only artifact of a stage.
    candor = Candor(tmp_path / "root")
    shutil.copytree(done[0].root, candor.root)
    flags = [part for value in TINY for part in ("--set", value)]
    axis = ["--axis", "evaluation.threshold=max_f1,max_fpr", "--detector", "fusion", "--metric", "fpr"]
    told = candor("ablate", "kd", "--dataset", "synthetic", *axis, *flags, "--json")
    ran = [line.split()[2] for line in told.stderr.splitlines() if "✓" in line]
    assert ran == ["evaluate"]
    rows = json.loads(told.stdout)["rows"]
    assert {r["cell"] for r in rows} == {
        "as it stands",
        "evaluation.threshold=max_f1",
        "evaluation.threshold=max_fpr",
    }
    same = [r["metrics"]["fpr"] for r in rows if r["cell"] == "evaluation.threshold=max_f1"]
    assert {(m["difference"], m["low"], m["high"]) for m in same} == {(0.0, 0.0, 0.0)}


def test_sigkill_at_any_moment_leaves_nothing_half_done_and_the_same_command_finishes(
    done: tuple[Candor, str], tmp_path: Path
):
    undisturbed, _ = done
    candor = Candor(tmp_path)
    argv = candor.argv(*KD)
    rng = random.Random(7)
    kills = 0

    def published() -> list[Path]:
        return list((candor.root / "cache" / "artifacts").glob("*/*/record.json"))

    # However fast the machine is: a while after so many of the 24 tasks.
    for tasks in (0, 2, 6, 11, 16):
        process = subprocess.Popen(
            argv, env=candor.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        wait_while(process, lambda least=tasks: len(published()) >= least, f"{tasks} tasks")  # type: ignore[misc]
        time.sleep(2 * rng.random())
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        for record in published():
            files = json.loads(record.read_text())["files"]
            assert all(
                (record.parent / name).stat().st_size == known["size"] for name, known in files.items()
            )
    assert kills >= 3
    candor.run_kd()
    same = ["detector", "variant", "level", "scenario", "capture", "metric"]
    ours, theirs = (
        results(c).sort(pl.all().exclude("value", "low", "high")).select(*same, "value")
        for c in (candor, undisturbed)
    )
    assert ours.drop("value").equals(theirs.drop("value"))
    assert ours["value"].is_null().equals(theirs["value"].is_null())
    assert ours["value"].drop_nulls().to_list() == pytest.approx(
        theirs["value"].drop_nulls().to_list(), rel=1e-6
    )


def test_a_corrupted_artifact_is_found_when_it_is_read_and_rebuilt(done: tuple[Candor, str]):
    candor, _ = done
    shutil.rmtree(candor.artifact("report"))
    table = candor.artifact("evaluate") / "results.parquet"
    good = table.read_bytes()
    os.chmod(table, 0o644)
    table.write_bytes(good[:-10] + bytes(10))
    told = candor.run_kd()
    assert "evaluate" in told.stdout + told.stderr
    assert (candor.artifact("evaluate") / "results.parquet").read_bytes()[-10:] == good[-10:]


def test_status_logs_and_data_answer_about_the_run(done: tuple[Candor, str]):
    candor, _ = done
    runs = candor("status").stdout
    assert "kd-synthetic-" in runs
    assert "succeeded" in runs
    log = candor("logs", "autoencoder.teacher.s1")
    assert "epoch 3 of 3" in log.stdout
    assert "val_loss" in log.stdout
    assert "succeeded" in log.stdout + log.stderr
    shown = candor("data", "list", "--dataset", "synthetic").stdout
    for word in ("car_a", "rows", "attack"):
        assert word in shown
