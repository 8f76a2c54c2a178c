"""What is told of a training, and what is not worth telling."""

from __future__ import annotations

import math

from flow_kit import toy_plan

from candor.tracking.alerts import AlertRules, find_alerts
from candor.tracking.tracked import Row, TrackedTask

RULES = AlertRules(spike_window=3, stall_min_s=60, low_gpu_rows=2)


def task(rows: list[Row], outcome: str = "published", last_row_s: float = 0.0) -> TrackedTask:
    planned = toy_plan().task("left")
    return TrackedTask(planned, "run", outcome, rows=rows, last_row_s=last_row_s, started_s=0.0)


def losses(*values: float) -> list[Row]:
    return [
        Row("epoch", step, {"val_loss": value, "auroc": 100 * value}) for step, value in enumerate(values)
    ]


def test_a_falling_loss_is_no_news() -> None:
    assert find_alerts(task(losses(4, 2, 1, 0.5, 0.4)), RULES, 0) == []


def test_a_loss_that_jumps_is_told_once_with_its_size() -> None:
    (alert,) = find_alerts(task(losses(1, 1.1, 0.9, 8, 0.9)), RULES, 0)
    assert (alert.kind, alert.step) == ("loss_spike", 3)
    assert "8.0 ×" in alert.text


def test_the_first_losses_are_not_compared_with_too_little() -> None:
    assert find_alerts(task(losses(0.1, 50)), RULES, 0) == []


def test_a_loss_that_is_no_number_is_told() -> None:
    (alert,) = find_alerts(task(losses(1, math.nan)), RULES, 0)
    assert (alert.kind, alert.step) == ("loss_not_finite", 1)


def test_a_running_task_that_falls_silent_is_told() -> None:
    running = task(losses(1, 1), outcome="running", last_row_s=20)
    assert find_alerts(running, RULES, now_s=20 + 99) == []
    (alert,) = find_alerts(running, RULES, now_s=20 + 101)
    assert alert.kind == "stall"


def test_an_ended_task_does_not_stall() -> None:
    assert find_alerts(task(losses(1, 1), last_row_s=20), RULES, now_s=1e6) == []


def test_an_idle_gpu_is_told_once_for_each_stretch() -> None:
    use = [0.9, 0.1, 0.1, 0.1, 0.9, 0.1]
    rows = [Row("device", step, {"gpu_use": value}) for step, value in enumerate(use)]
    assert [(a.kind, a.step) for a in find_alerts(task(rows), RULES, 0)] == [("low_gpu_use", 2)]
