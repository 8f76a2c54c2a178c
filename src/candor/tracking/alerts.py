"""What a person who is not watching should be told of a training: a loss that jumps, a stall, an idle GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config
from candor.tracking.tracked import Row, Shown

#: Clock of the rows that say how busy the device was; see device.DeviceRecorder.
DEVICE = "device"
GPU_USE = "gpu_use"


class AlertRules(Config):
    """When to tell.

    Attributes:
        spike_factor, spike_window: a loss above ``spike_factor`` × the median of the ``spike_window`` values before it.
        stall_factor, stall_min_s: no row for ``stall_factor`` × the mean time between rows, and at least that long.
        low_gpu_share, low_gpu_rows: the GPU used less than this share in so many rows on end.
    """

    spike_factor: Annotated[float, Field(gt=1)] = 4.0
    spike_window: Annotated[int, Field(ge=2)] = 5
    stall_factor: Annotated[float, Field(gt=1)] = 10.0
    stall_min_s: Annotated[float, Field(gt=0)] = 600.0
    low_gpu_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    low_gpu_rows: Annotated[int, Field(ge=1)] = 5


@dataclass(frozen=True)
class Alert:
    """One thing to tell; ``kind`` and ``step`` name it, so that it is told once."""

    kind: Literal["loss_spike", "loss_not_finite", "stall", "low_gpu_use"]
    step: int
    text: str


def find_alerts(task: Shown, rules: AlertRules, now_s: float) -> list[Alert]:
    """Everything worth telling of a task or trial at the time ``now_s`` (seconds since the epoch)."""
    return [
        *loss_alerts(task.rows, rules),
        *gpu_alerts(task.rows, rules),
        *([] if task.ended else stall_alerts(task, rules, now_s)),
    ]


def loss_alerts(rows: Sequence[Row], rules: AlertRules) -> list[Alert]:
    """Jumps of any metric whose name ends in ``loss``, and losses that are no number any more."""
    found: list[Alert] = []
    before: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for name, value in row.metrics.items():
            if not name.endswith("loss"):
                continue
            if not math.isfinite(value):
                found.append(
                    Alert("loss_not_finite", row.step, f"{name} is {value} at {row.kind} {row.step}")
                )
                continue
            past = before.setdefault((row.kind, name), [])
            usual = median(past[-rules.spike_window :]) if len(past) >= rules.spike_window else math.inf
            if 0 < usual < math.inf and value > rules.spike_factor * usual:
                text = (
                    f"{name} is {value:.4g} at {row.kind} {row.step}, {value / usual:.1f} × the median before"
                )
                found.append(Alert("loss_spike", row.step, text))
            past.append(value)
    return found


def gpu_alerts(rows: Sequence[Row], rules: AlertRules) -> list[Alert]:
    """The first of each stretch of rows in which the GPU hardly worked."""
    found: list[Alert] = []
    low = 0
    for row in (r for r in rows if r.kind == DEVICE and GPU_USE in r.metrics):
        low = low + 1 if row.metrics[GPU_USE] < rules.low_gpu_share else 0
        if low == rules.low_gpu_rows:
            text = f"the GPU was used {row.metrics[GPU_USE]:.0%} at step {row.step}; a smaller one, or several trials on one, would do"
            found.append(Alert("low_gpu_use", row.step, text))
    return found


def stall_alerts(task: Shown, rules: AlertRules, now_s: float) -> list[Alert]:
    """A running task that has been silent for far longer than between its rows so far."""
    if not task.rows or task.last_row_s is None or task.started_s is None:
        return []
    usual_s = max(0.0, task.last_row_s - task.started_s) / len(task.rows)
    silent_s = now_s - task.last_row_s
    if silent_s < max(rules.stall_min_s, rules.stall_factor * usual_s):
        return []
    text = f"no progress for {silent_s / 60:.0f} min; rows came every {usual_s:.0f} s before"
    return [Alert("stall", task.rows[-1].step, text)]
