"""The main job on the shared samples of published flow data sets: it runs, or stops for the right reason."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from flow_texts import nf_text
from kd_run import Candor

pytestmark = pytest.mark.slow

SETS = (
    *("variants.teacher.scale=small", "training.max_epochs=2", "training.threads=1", "fusion.episodes=2"),
    "evaluation.bootstrap=20",
)
FLAGS = [part for value in SETS for part in ("--set", value)]


@pytest.mark.parametrize(
    ("dataset", "scenarios"),
    [
        ("unsw_nb15", {"later_time"}),
        ("iot23", {"later_time_known_attack", "unknown_device_unknown_attack"}),
        ("cicids2017", {"later_time_known_attack", "later_day_unknown_attack"}),
    ],
)
def test_kd_runs_on_the_shared_sample(
    shared_data: Path, tmp_path: Path, dataset: str, scenarios: set[str]
) -> None:
    candor = Candor(tmp_path)
    candor("run", "kd", "--dataset", dataset, *FLAGS)
    results = pl.read_parquet(candor.artifact("evaluate") / "results.parquet")
    auroc = results.filter(
        (pl.col("metric") == "auroc") & (pl.col("capture") == "") & (pl.col("attack") == "")
    )
    assert set(auroc["scenario"]) >= scenarios
    assert {"teacher", "student", "student_kd", "control", "baseline"} == set(auroc["variant"])
    assert auroc["value"].drop_nulls().is_between(0, 1).all()
    for stage in ("audit_flows", "profile", "report"):
        assert (candor.artifact(stage) / "index.html").is_file()


def test_a_sample_of_attacks_stops_and_says_how_few_flows_are_benign(
    shared_data: Path, tmp_path: Path
) -> None:
    done = Candor(tmp_path)("run", "kd", "--dataset", "nf_bot_iot_v2", code=3)
    assert "no training window is benign: 5 of 1,320 training flows are" in " ".join(done.stderr.split())


def test_one_capture_of_thirteen_is_no_data_set(shared_data: Path, tmp_path: Path) -> None:
    done = Candor(tmp_path)("run", "kd", "--dataset", "ctu13", code=3)
    assert "ctu13: no file for scenario-1, scenario-2, scenario-3 and 9 more" in done.stderr


def test_flows_without_time_run_only_when_that_is_allowed_and_every_table_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "nf_bot_iot_v2"
    folder.mkdir(parents=True)
    (folder / "NF-BoT-IoT-v2.csv").write_text(nf_text(4000))
    candor = Candor(tmp_path)
    stopped = candor("run", "kd", "--dataset", "nf_bot_iot_v2", *FLAGS, code=4)
    assert "[flows_without_time]" in stopped.stderr
    done = candor("run", "kd", "--dataset", "nf_bot_iot_v2", *FLAGS, "--allow", "flows_without_time")
    said = "The audit's error 'flows_without_time' was allowed"
    assert said in done.stdout
    assert said.replace("'", "&#x27;") in (candor.artifact("report") / "index.html").read_text()
    assert said in (candor.artifact("evaluate") / "table.json").read_text()
    assert (
        said
        in candor(
            "run", "kd", "--dataset", "nf_bot_iot_v2", *FLAGS, "--allow", "flows_without_time", "--json"
        ).stdout
    )
