"""Bootstrap draws for event metrics: captures first, then events, or blocks of benign windows, within each.

The same two levels as those of window metrics (`candor.learn.bootstrap`): events of one capture are alike, as its windows
are. Where there is one capture with events (or with benign traffic) there is nothing to draw, and the exact formula stays.

Legend: E events, n windows of a timeline, m benign ones, B replicates, D detected events.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candor.ids.config import EvaluationConfig
from candor.ids.evaluation.timeline import Timeline
from candor.learn.bootstrap import Resamples, resample

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class EventDraws:
    """Replicates of one timeline.

    Attributes:
        events: of its E events; None where fewer than two captures hold any.
        benign: of its m benign windows, ``benign_rows``; None where fewer than two captures hold any.
    """

    events: Resamples | None
    benign: Resamples | None
    benign_rows: NDArray[np.int64]

    def recall(self, found_E: Bools) -> Floats | None:
        """Event recall of every replicate: [B]."""
        if self.events is None:
            return None
        return self.events.totals(found_E) / self.events.totals(np.ones(len(found_E)))

    def rate(self, starts_n: Bools, seconds_n: Floats) -> Floats | None:
        """False alarms per benign hour of every replicate: [B]. ``starts_n``: windows at which one begins."""
        if self.benign is None:
            return None
        hours_B = self.benign.totals(seconds_n[self.benign_rows]) / 3600
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.benign.totals(starts_n[self.benign_rows]) / hours_B

    def median_wait(self, wait_E: Floats) -> Floats | None:
        """Median time to alarm of every replicate, s: [B]; NaN on one without a detected event. ``wait_E``: NaN: missed."""
        if self.events is None:
            return None
        order_D = np.argsort(wait_E, kind="stable")[: int((~np.isnan(wait_E)).sum())]  # NaN come last.
        wait_D = wait_E[order_D]
        upto_BD = np.cumsum(self.events.draws[:, self.events.block_n[order_D]], axis=1)
        total_B = upto_BD[:, -1]
        out_B = np.full(len(total_B), np.nan)
        some = total_B > 0
        low, high = (
            wait_D[np.argmax(upto_BD[some] > rank[:, None], axis=1)]
            for rank in ((total_B[some] - 1) // 2, total_B[some] // 2)
        )
        out_B[some] = (low + high) / 2
        return out_B


def event_draws(line: Timeline, config: EvaluationConfig, name: str) -> EventDraws:
    """Replicates of a timeline, equal for every detector that is judged on it. ``name``: of the slice; seeds the draws."""
    rng = np.random.default_rng([config.seed, zlib.crc32(f"events\0{name}".encode())])
    benign_rows = np.flatnonzero(line.benign_n)
    owner_E = np.array([e.capture for e in line.events], dtype=object)
    owner_m = line.capture_n[benign_rows]
    events = benign = None
    if len(set(owner_E.tolist())) > 1:
        # Events are drawn one by one: what follows itself within a capture is inside an event.
        events = resample(
            np.ones(len(owner_E)),
            owner_E.astype(str),
            replicates=config.bootstrap,
            block_windows=1,
            rng=rng,
        )
    if len(np.unique(owner_m)) > 1:
        benign = resample(
            np.zeros(len(owner_m)),
            owner_m,
            replicates=config.bootstrap,
            block_windows=config.block_windows,
            rng=rng,
        )
    return EventDraws(events, benign, benign_rows)
