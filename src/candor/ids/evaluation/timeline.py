"""Events and false alarms: what an operator sees, where a window metric counts every window.

An event is one contiguous attack interval. It is detected when a window that overlaps it is flagged; the alarm comes at
the end of the first such window, and not before the stream's profile is calibrated.

Between flagged windows and alarms may stand an alarm layer (`candor.ids.evaluation.alarms`); "flagged" here is then "with
an alarm on", and its delay is part of every time.

A false alarm is a run of consecutive flagged benign windows; benign means labelled so and clear of every event. A run
is raised again in every new slot of ``alarm_s`` seconds of its capture: otherwise a detector that never falls silent
would count as one false alarm an event, and look better than a nervous one. With a layer, an alarm of an attack that is still
on behind it is no false one before the next slot.

Legend: n windows of one or more captures, in stream order within each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.config import AlarmConfig
from candor.ids.evaluation.alarms import alarmed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: No alarm layer.
PLAIN = AlarmConfig()
#: Thresholds tried where a layer makes false alarms no closed function of the scores.
_SWEEP = 400


@dataclass(frozen=True)
class Event:
    """An attack interval and the windows (indices into the timeline) that overlap it."""

    capture: str
    attack: str
    start_s: float
    end_s: float
    windows: NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """Truth of a stretch of traffic.

    Attributes:
        benign_n: window is labelled benign and overlaps no event.
        follows_n: window continues the run of the window before it: neighbours in one capture and slot, both benign.
        joined_n: window is the neighbour of the one before it, in one capture and slot.
        neighbour_n: window is the neighbour of the one before it, in one capture.
        t1_n: its end, s of its capture.
        alarm_s_n: earliest time, s of its capture, at which the window can raise an alarm.
        capture_n: number of its capture, by name.
        seconds_n: stream time that it adds, s.
        hours: benign time observed.
    """

    benign_n: Bools
    follows_n: Bools
    joined_n: Bools
    neighbour_n: Bools
    t1_n: Floats
    alarm_s_n: Floats
    capture_n: NDArray[np.int64]
    seconds_n: Floats
    hours: float
    events: tuple[Event, ...]

    def only(self, attack: str) -> Timeline:
        """The same traffic, of whose events only one family counts."""
        return replace(self, events=tuple(e for e in self.events if e.attack == attack))


def timeline(rows: pl.DataFrame, events: pl.DataFrame, *, alarm_s: float) -> Timeline:
    """Lay windows and events side by side.

    Args:
        rows: score rows (scores are not looked at), sorted by capture and window.
        events: capture, attack, t_start, t_end; those of other captures are ignored.
    """
    t0, t1 = rows["t0"].to_numpy(), rows["t1"].to_numpy()
    index = rows["window"].to_numpy()
    _, capture = np.unique(rows["capture"].to_numpy(), return_inverse=True)
    found = _match(rows["capture"], t0, t1, events)
    benign = rows["y"].to_numpy() == 0
    for event in found:
        benign[event.windows] = False
    neighbour = np.zeros(len(t0), bool)
    neighbour[1:] = (capture[1:] == capture[:-1]) & (np.diff(index) == 1)
    slot = np.floor(t0 / alarm_s)
    joined = neighbour.copy()
    joined[1:] &= slot[1:] == slot[:-1]
    follows = joined.copy()
    follows[1:] &= benign[1:] & benign[:-1]
    ready = np.zeros(capture.max() + 1 if len(t0) else 0)
    calibrating = rows["calibration"].to_numpy()
    np.maximum.at(ready, capture[calibrating], t1[calibrating])
    seconds = _advance(t0, t1, neighbour)
    return Timeline(
        benign_n=benign,
        follows_n=follows,
        joined_n=joined,
        neighbour_n=neighbour,
        t1_n=t1,
        alarm_s_n=np.maximum(t1, ready[capture]),
        capture_n=capture,
        seconds_n=seconds,
        hours=float(seconds[benign].sum()) / 3600,
        events=tuple(found),
    )


def _match(capture: pl.Series, t0: Floats, t1: Floats, events: pl.DataFrame) -> list[Event]:
    """Events of these captures with the windows that overlap them, ends included; an event may overlap none."""
    found = []
    names = set(capture.unique().to_list())
    masks = {name: (capture == name).to_numpy() for name in names & set(events["capture"].to_list())}
    for e in events.iter_rows(named=True):
        if e["capture"] in masks:
            overlap = masks[e["capture"]] & (t0 <= e["t_end"]) & (t1 >= e["t_start"])
            found.append(Event(e["capture"], e["attack"], e["t_start"], e["t_end"], np.flatnonzero(overlap)))
    return found


def _advance(t0: Floats, t1: Floats, neighbour: Bools) -> Floats:
    """Stream time that each window adds, s: until its neighbour starts (windows may overlap), else its own length."""
    seconds = t1 - t0
    seconds[:-1] = np.where(neighbour[1:], np.diff(t0), seconds[:-1])
    return np.maximum(seconds, 0.0)  # Clocks of real captures step back.


def on_windows(
    line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN
) -> Bools:
    """Windows with an alarm on, at one threshold or at each window's own: [n]."""
    return alarmed(score >= threshold, line.neighbour_n, line.t1_n, alarms)


def false_alarms(
    line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN
) -> int:
    """Number of false alarms at one threshold. ``score``: [n]."""
    return int(np.sum(false_alarm_starts(line, score, threshold, alarms)))


def false_alarm_starts(
    line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN
) -> Bools:
    """Windows at which a false alarm is raised: [n]."""
    on = on_windows(line, score, threshold, alarms)
    raised = line.benign_n & on
    continued = np.zeros_like(raised)
    if alarms.is_plain:
        continued[1:] = line.follows_n[1:] & raised[:-1]
    else:
        continued[1:] = line.joined_n[1:] & on[:-1]
    return raised & ~continued


def false_alarm_curve(line: Timeline, score: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """False alarms at every threshold that matters: (distinct benign scores, descending; count at each).

    A window starts an alarm unless the one before is flagged too, so the count at t is the number of benign scores
    ≥ t less the number of following pairs whose smaller score is ≥ t: two sorted arrays, no sweep.
    """
    benign = np.sort(score[line.benign_n])
    after = np.flatnonzero(line.follows_n)
    pairs = np.sort(np.minimum(score[after], score[after - 1]))
    thresholds = np.unique(benign)[::-1]
    above = len(benign) - np.searchsorted(benign, thresholds, side="left")
    merged = len(pairs) - np.searchsorted(pairs, thresholds, side="left")
    return thresholds, (above - merged).astype(np.int64)


def rate_threshold(
    line: Timeline, score: Floats, per_hour: float, alarms: AlarmConfig = PLAIN
) -> float | None:
    """Lowest threshold above which false alarms never exceed ``per_hour``; None without benign traffic.

    Counts are whole: in a stretch shorter than 1 / ``per_hour`` no false alarm is allowed, and the threshold lies just
    above its highest benign score (with an alarm layer: of those tried).
    """
    thresholds, counts = _counted(line, score, alarms)
    if not len(thresholds):
        return None
    excess = np.flatnonzero(counts > np.floor(per_hour * line.hours + 1e-9))
    if not len(excess):
        return float(thresholds[-1])
    below = thresholds[excess[0]]
    if excess[0] and not alarms.is_plain:
        # Scores may lie between two thresholds that were tried, and of what they would alarm nothing is known.
        below = score[score < thresholds[excess[0] - 1]].max()
    return float(np.nextafter(below, np.inf))


def _counted(line: Timeline, score: Floats, alarms: AlarmConfig) -> tuple[Floats, NDArray[np.int64]]:
    """False alarms at thresholds, descending: all that matter, or, with a layer, `_SWEEP` of them."""
    if alarms.is_plain:
        return false_alarm_curve(line, score)
    distinct = np.unique(score[line.benign_n])[::-1]
    if len(distinct) > _SWEEP:
        # Dense at the top: half of them are the highest ones, the others spread over the ranks.
        tail = np.geomspace(_SWEEP // 2, len(distinct), _SWEEP // 2).round().astype(int) - 1
        distinct = distinct[np.unique(np.concatenate([np.arange(_SWEEP // 2), tail]))]
    return distinct, np.array([false_alarms(line, score, t, alarms) for t in distinct], np.int64)


def peaks(line: Timeline, score: Floats) -> Floats:
    """Highest score seen during each event: it is detected at thresholds up to that. -inf where no window overlaps."""
    return np.array([score[e.windows].max(initial=-np.inf) for e in line.events], np.float64)


def detected(line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN) -> Bools:
    """Whether an alarm is on during each event."""
    on = on_windows(line, score, threshold, alarms)
    return np.array([on[e.windows].any() for e in line.events], np.bool_)


def delays(line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN) -> Floats:
    """Seconds from the start of each event to its alarm; NaN for missed ones: [events]."""
    on = on_windows(line, score, threshold, alarms)
    out = np.full(len(line.events), np.nan)
    for number, e in enumerate(line.events):
        raised = e.windows[on[e.windows]]
        if len(raised):
            out[number] = float(line.alarm_s_n[raised].min()) - e.start_s
    return out


def times_to_alarm(
    line: Timeline, score: Floats, threshold: float | Floats, alarms: AlarmConfig = PLAIN
) -> Floats:
    """Seconds from the start of each detected event to its alarm, in order of the events; missed ones are left out."""
    found = delays(line, score, threshold, alarms)
    return found[~np.isnan(found)]


def operating_curve(
    line: Timeline, score: Floats, *, points: int = 60, alarms: AlarmConfig = PLAIN
) -> pl.DataFrame:
    """Event recall against false alarms per hour, over thresholds of this very traffic: a curve, not a result.

    Columns threshold, false_alarms_per_hour, event_recall; about ``points`` rows evenly over the ranks of the benign
    scores' upper tail. Choosing a point here would be choosing on test data; results take theirs from validation.
    """
    empty = {"threshold": pl.Float64, "false_alarms_per_hour": pl.Float64, "event_recall": pl.Float64}
    if not line.events or not line.hours:
        return pl.DataFrame(schema=empty)
    thresholds, counts = _counted(line, score, alarms)
    # Log spacing: the first false alarms matter, the last hundred do not.
    pick = np.unique(np.geomspace(1, len(thresholds), points).round().astype(int)) - 1
    above_all = np.nextafter(thresholds[0], np.inf)
    chosen = np.concatenate([[above_all], thresholds[pick]])
    seen = np.concatenate([[0], counts[pick]])
    if alarms.is_plain:
        recall = (peaks(line, score)[None, :] >= chosen[:, None]).mean(axis=1)
    else:
        recall = np.array([detected(line, score, t, alarms).mean() for t in chosen])
    return pl.DataFrame(
        {
            "threshold": chosen,
            "false_alarms_per_hour": seen / line.hours,
            "event_recall": recall,
        },
        schema=empty,
    )
