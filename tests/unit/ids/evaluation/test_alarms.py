"""The alarm layer: when alarms rise and fall, and that their delay is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_data import events, output, scored, windows, world
from pydantic import ValidationError

from candor.ids.config import AlarmConfig, EvaluationConfig
from candor.ids.evaluation import evaluate
from candor.ids.evaluation.alarms import alarmed
from candor.ids.evaluation.timeline import (
    detected,
    false_alarms,
    operating_curve,
    rate_threshold,
    timeline,
    times_to_alarm,
)

NONE = events()


def layer(flagged: str, config: AlarmConfig, cut: int | None = None) -> str:
    """``..##`` in and out; windows of one second; no neighbour before ``cut``."""
    on = np.array([c == "#" for c in flagged])
    neighbour = np.ones(len(on), bool)
    neighbour[0] = False
    if cut is not None:
        neighbour[cut] = False
    out = alarmed(on, neighbour, np.arange(len(on)) + 1.0, config)
    return "".join("#" if v else "." for v in out)


TWO_OF_THREE = AlarmConfig(raise_windows=2, of_windows=3)


@pytest.mark.parametrize(
    ("flagged", "config", "wanted"),
    [
        ("..#..##..", AlarmConfig(), "..#..##.."),
        (".#...#..", TWO_OF_THREE, "........"),
        (".#.#....", TWO_OF_THREE, "...###.."),
        (".##.....", AlarmConfig(raise_windows=2, of_windows=2), "..##...."),
        (".##.....", AlarmConfig(raise_windows=2, of_windows=2, fall_windows=1), "..#....."),
        ("##.##...", AlarmConfig(raise_windows=2, of_windows=2, fall_windows=1), ".#..#..."),
        ("#..#....#", AlarmConfig(cooldown_s=4.0), "#.......#"),
    ],
)
def test_alarms_rise_and_fall_as_configured(flagged: str, config: AlarmConfig, wanted: str) -> None:
    assert layer(flagged, config) == wanted


def test_a_gap_in_the_windows_starts_anew() -> None:
    assert layer(".#.#..", TWO_OF_THREE, cut=3) == "......"


def test_settings_that_could_never_rise_are_refused() -> None:
    for wrong in (
        {"raise_windows": 3, "of_windows": 2},
        {"raise_windows": 2, "of_windows": 3, "fall_windows": 2},
    ):
        with pytest.raises(ValidationError):
            AlarmConfig.model_validate(wrong)


def test_the_delay_of_the_layer_is_part_of_the_time_to_alarm() -> None:
    rows = windows("c", [0] * 5 + [1] * 5)
    line = timeline(rows, events(("c", "dos", 5.0, 9.9)), alarm_s=100)
    score = rows["y"].to_numpy().astype(float)
    plain = times_to_alarm(line, score, 0.5)
    late = times_to_alarm(line, score, 0.5, AlarmConfig(raise_windows=3, of_windows=3))
    assert late[0] - plain[0] == pytest.approx(2.0)


def test_an_attack_too_short_for_the_layer_is_missed() -> None:
    rows = windows("c", [0] * 5 + [1] + [0] * 4)
    line = timeline(rows, events(("c", "dos", 5.1, 5.9)), alarm_s=100)
    score = rows["y"].to_numpy().astype(float)
    assert detected(line, score, 0.5).tolist() == [True]
    assert detected(line, score, 0.5, TWO_OF_THREE).tolist() == [False]


def test_single_flagged_windows_are_no_false_alarms_behind_the_layer() -> None:
    rows = windows("c", [0] * 12)
    line = timeline(rows, NONE, alarm_s=100)
    score = np.array([0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0], float)
    assert false_alarms(line, score, 0.5) == 3
    assert false_alarms(line, score, 0.5, TWO_OF_THREE) == 1


def test_an_alarm_that_outlives_its_attack_is_no_false_one_before_the_next_slot() -> None:
    rows = windows("c", [0, 0, 1, 1, 0, 0, 0, 0, 0, 0])
    line = timeline(rows, events(("c", "dos", 2.0, 3.9)), alarm_s=6)
    score = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0], float)
    assert false_alarms(line, score, 0.5) == 2
    assert false_alarms(line, score, 0.5, TWO_OF_THREE) == 1  # The one of the second slot.


def test_thresholds_for_a_rate_are_chosen_behind_the_layer() -> None:
    rng = np.random.default_rng(0)
    rows = windows("c", [0] * 3600)
    line = timeline(rows, NONE, alarm_s=10)
    score = rng.random(3600)
    for alarms in (AlarmConfig(), TWO_OF_THREE):
        at = rate_threshold(line, score, 5.0, alarms)
        assert at is not None
        assert false_alarms(line, score, at, alarms) <= 5 * line.hours + 1e-9
    assert rate_threshold(line, score, 5.0, TWO_OF_THREE) < rate_threshold(line, score, 5.0)  # type: ignore[operator]


@pytest.mark.parametrize("per_hour", [30.0, 60.0, 120.0])
def test_behind_the_layer_a_rate_holds_though_not_every_score_is_tried(per_hour: float) -> None:
    rows = windows("c", [0] * 3600)
    line = timeline(rows, NONE, alarm_s=10)
    for seed in range(12):
        score = np.random.default_rng(seed).random(3600)
        at = rate_threshold(line, score, per_hour, TWO_OF_THREE)
        assert at is not None
        assert false_alarms(line, score, at, TWO_OF_THREE) <= per_hour * line.hours + 1e-9


def test_the_layer_reaches_the_results_and_leaves_window_metrics_alone(tmp_path: Path) -> None:
    import polars as pl

    truth = np.array([0] * 30 + [1] * 10 + [0] * 20)
    rows = pl.concat([windows("v", truth, split="val", scenario=""), windows("c", truth)])
    scores = scored(rows, np.concatenate([truth, truth]) + 0.0)
    happened = events(("v", "dos", 30.2, 39.5), ("c", "dos", 30.2, 39.5))
    found = {}
    for name, alarms in (("plain", AlarmConfig()), ("layered", AlarmConfig(raise_windows=4, of_windows=4))):
        out = output(tmp_path / name)
        config = EvaluationConfig(bootstrap=5, block_windows=1, alarms=alarms)
        evaluate(config, world(tmp_path / name, {"gat": scores}, happened), out)
        table = pl.read_parquet(out.path / "results.parquet").filter(
            pl.col("seed").is_not_null(), capture="", attack=""
        )
        found[name] = dict(table.select("metric", "value").iter_rows())
    assert found["layered"]["time_to_alarm_s"] == pytest.approx(found["plain"]["time_to_alarm_s"] + 3)
    assert found["layered"]["f1"] == found["plain"]["f1"]


def test_the_operating_curve_is_drawn_behind_the_layer() -> None:
    rows = windows("c", [0] * 20 + [1] + [0] * 20)
    line = timeline(rows, events(("c", "dos", 20.1, 20.9)), alarm_s=100)
    score = rows["y"].to_numpy() + np.linspace(0, 0.5, 41)
    assert operating_curve(line, score)["event_recall"].max() == 1
    strict = operating_curve(line, score, alarms=AlarmConfig(raise_windows=3, of_windows=3))
    assert strict["event_recall"][0] == 0
