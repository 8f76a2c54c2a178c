"""What happened in the test traffic, cut into slices, whatever any detector says of it.

A slice is a scenario, one capture of it, or one attack family within it. The windows of an event that is known from its
interval alone (suppression: no forged frame, so no window is labelled) are neither attack nor benign: window metrics
leave them out, event metrics judge them.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.config import EvaluationConfig
from candor.ids.evaluation.draws import EventDraws, event_draws
from candor.ids.evaluation.timeline import Timeline, timeline
from candor.ids.scoring import WINDOW_KEY
from candor.learn.bootstrap import Resamples, resample


@dataclass(frozen=True)
class Slice:
    """One cut of the test windows.

    Attributes:
        scenario, capture, attack: "" stands for all.
        rows: windows that window metrics look at, indices into the detector's test rows.
        y: their truth. resamples: their bootstrap draws, the same for every detector.
        line_rows: windows of the timeline, indices into the same rows. line: their events. event_draws: the timeline's
            bootstrap draws.
        labelled: False where the captures carry no labels, so that nothing can be said.
    """

    scenario: str
    capture: str
    attack: str
    rows: NDArray[np.int64]
    y: NDArray[np.uint8]
    resamples: Resamples
    line_rows: NDArray[np.int64]
    line: Timeline
    event_draws: EventDraws
    labelled: bool = True

    @property
    def place(self) -> str:
        """Ends an undefined reason."""
        if self.attack:
            return f" of family '{self.attack}' in this scenario"
        return " in this capture" if self.capture else " in this scenario"


def fingerprint(rows: pl.DataFrame) -> str:
    """Equal for detectors that were scored on the same windows with the same truth."""
    parts = rows.select([*WINDOW_KEY, "t0", "t1", "y", "attack", "calibration"])
    return hashlib.sha256(parts.hash_rows().to_numpy().tobytes()).hexdigest()


def event_only(rows: pl.DataFrame, events: pl.DataFrame, *, alarm_s: float) -> NDArray[np.bool_]:
    """Windows labelled benign inside an event none of whose windows is labelled attack: [n]."""
    y = rows["y"].to_numpy()
    out = np.zeros(len(y), bool)
    for event in timeline(rows, events, alarm_s=alarm_s).events:
        if not y[event.windows].any():
            out[event.windows] = True
    return out


def slices(
    rows: pl.DataFrame, events: pl.DataFrame, unlabelled: set[str], config: EvaluationConfig
) -> list[Slice]:
    """All slices of the test windows of one detector: scenarios, captures, families.

    Args:
        rows: its test rows, sorted by scenario, capture and window.
        events: of all captures. unlabelled: captures without labels; they get their own undefined slice only.
    """
    cut = _Cutter(rows, events, unlabelled, config)
    scenario, capture, attack = (rows[c].to_numpy() for c in ("scenario", "capture", "attack"))
    benign = rows["y"].to_numpy() == 0
    happened = events.select("capture", "attack").unique()
    found: list[Slice] = []
    for s in sorted(set(scenario.tolist())):
        here = (scenario == s) & cut.labelled
        if here.any():
            found.append(cut((s, "", ""), here, here))
        for c in sorted(set(capture[scenario == s].tolist())):
            only = (scenario == s) & (capture == c)
            found.append(cut((s, c, ""), only, only))
        held = happened.filter(pl.col("capture").is_in(sorted(set(capture[here].tolist()))))
        for family in sorted((set(attack[here].tolist()) | set(held["attack"].to_list())) - {""}):
            # Benign windows of the captures that hold the family: other captures may be other vehicles.
            with_it = held.filter(pl.col("attack") == family)["capture"].to_list()
            of = here & np.isin(capture, sorted({*with_it, *capture[here & (attack == family)].tolist()}))
            found.append(cut((s, "", family), of & (benign | (attack == family)), of))
    return found


class _Cutter:
    """Cuts slices out of one detector's test rows. ``labelled``: windows of captures with labels, [n]."""

    def __init__(
        self, rows: pl.DataFrame, events: pl.DataFrame, unlabelled: set[str], config: EvaluationConfig
    ) -> None:
        self._rows, self._events, self._config = rows, events, config
        self._y, self._capture = rows["y"].to_numpy(), rows["capture"].to_numpy()
        self._usable = ~event_only(rows, events, alarm_s=config.alarm_s)
        self.labelled = ~np.isin(self._capture, sorted(unlabelled))

    def __call__(
        self, name: tuple[str, str, str], counted: NDArray[np.bool_], seen: NDArray[np.bool_]
    ) -> Slice:
        """``name``: (scenario, capture, family). ``counted``: windows of the metrics. ``seen``: of the timeline."""
        config, chosen, line_rows = self._config, np.flatnonzero(counted & self._usable), np.flatnonzero(seen)
        line = timeline(self._rows[line_rows], self._events, alarm_s=config.alarm_s)
        line = line.only(name[2]) if name[2] else line
        draws = resample(
            self._y[chosen],
            self._capture[chosen],
            replicates=config.bootstrap,
            block_windows=config.block_windows,
            rng=np.random.default_rng([config.seed, zlib.crc32("\0".join(name).encode())]),
        )
        return Slice(
            *name,
            rows=chosen,
            y=self._y[chosen],
            resamples=draws,
            line_rows=line_rows,
            line=line,
            event_draws=event_draws(line, config, "\0".join(name)),
            labelled=bool(self.labelled[line_rows].all()),
        )
