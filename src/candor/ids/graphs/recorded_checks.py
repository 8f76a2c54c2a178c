"""Checks of what a bus recording lost before it came here: its times, its order, its lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from candor.ids.captures import derived
from candor.ids.captures.formats import FORMATS
from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.findings import Finding

#: Times beyond this, s, are counted from 1970; smaller ones from the start of the capture, and claim no hour of any day.
_EPOCH_S = 1e8
#: Fewer IDs than this may well send frames of one length.
_MANY_IDS = 10


def without_time(catalog: pl.DataFrame) -> Iterator[Finding]:
    """Captures of formats that have no timestamps; rows get an ordinal time."""
    untimed = [c for c, kind in catalog.select("capture", "format").iter_rows() if not FORMATS[kind].timed]
    if untimed:
        message = (
            f"the format of {', '.join(untimed)} has no timestamps: intervals, rates and times to alarm are made up "
            "from the order of rows"
        )
        yield Finding("captures_without_time", "warning", message, {"captures": untimed})


def from_absence(ingest: Path) -> Iterator[Finding]:
    """Captures whose true events were derived from absence: a detector of silence is judged by what it looks for."""
    told = derived.read_told(ingest)
    if told:
        named = ", ".join(str(t["capture"]) for t in told)
        message = (
            f"the true events of {named} are those in which an ID is silent for longer than attack-free captures allow; "
            "the specialist absence, and unions with it, look for the same: what they reach there says little"
        )
        yield Finding("events_from_absence", "warning", message, {"captures": told})


def overlapping_times(ingest: Path, catalog: pl.DataFrame) -> Iterator[Finding]:
    """Captures that claim to have been recorded at the same time.

    Every capture of can-train-and-test restarts on 1 January 2023. Candor never joins captures; whoever does, and sorts
    by time, interleaves recordings that have nothing to do with each other.
    """
    timed = [c for c, kind in catalog.select("capture", "format").iter_rows() if FORMATS[kind].timed]
    found = [(*_span(ingest / "frames" / f"{capture}.parquet"), capture) for capture in timed]
    spans = [span for span in found if span[0] > _EPOCH_S]
    pairs, latest, holder = [], float("-inf"), ""
    for start, end, capture in sorted(spans):
        if start < latest:
            pairs.append((holder, capture))
        if end > latest:
            latest, holder = end, capture
    if pairs:
        restart = len({start for start, _, _ in spans}) == 1
        how = "start at one and the same time" if restart else "overlap in time"
        names = sorted({name for pair in pairs for name in pair})
        message = (
            f"{len(names)} captures {how}, {pairs[0][0]} and {pairs[0][1]} for two: never sort them together"
        )
        yield Finding("times_overlap", "info", message, {"captures": names, "one_start": restart})


def _span(path: Path) -> tuple[float, float]:
    times = pl.col("timestamp")
    first, last = (
        pl.scan_parquet(path).select(first=times.min(), last=times.max()).collect(engine="streaming").row(0)
    )
    return float(first), float(last)


def constant_length(lengths: Mapping[str, tuple[int, int, int]]) -> Iterator[Finding]:
    """``lengths``: capture → (shortest, longest payload in bytes, IDs)."""
    alike = [c for c, (low, high, ids) in lengths.items() if low == high and ids >= _MANY_IDS]
    if alike:
        message = (
            f"every frame of {', '.join(alike)} is {lengths[alike[0]][0]} bytes long: a converter that pads payloads "
            "loses the DLC, and what depends on it"
        )
        yield Finding("constant_length", "info", message, {"captures": alike})


#: Chance that so many steps lie at attacks below which it is none.
_CHANCE = 0.01


@dataclass(frozen=True)
class TimeSteps:
    """Steps of zero or less of a capture: how many, how many of them begin or end at an attack frame, and the share of
    all steps that do."""

    still: int
    at_attacks: int
    usual: float


def time_steps(frames: FrameArrays) -> TimeSteps:
    """Counts of one capture."""
    attack = frames.y == 1
    touches = attack[1:] | attack[:-1]
    still = np.diff(frames.t) <= 0
    usual = float(touches.mean()) if len(touches) else 0.0
    return TimeSteps(int(still.sum()), int((still & touches).sum()), usual)


def injected(steps: Mapping[str, TimeSteps]) -> Iterator[Finding]:
    """Captures whose clock stands still, or goes back, at attack frames and nowhere else.

    Frames that were merged into a recording betray themselves so. They may be too few for an AUROC (25 of 936 attack
    frames of targeted_payload_fuzzing-2 of set_01), yet whoever sees one knows.
    """
    found = {
        capture: asdict(s)
        for capture, s in steps.items()
        if s.at_attacks >= max(0.9 * s.still, 1) and s.usual**s.at_attacks < _CHANCE
    }
    if found:
        named = ", ".join(f"{capture} ({s['at_attacks']} of {s['still']})" for capture, s in found.items())
        message = (
            f"time steps of zero or less lie at attack frames in {named}: attacks were merged into a recording, and "
            "intervals give some of them away"
        )
        yield Finding("injection_time_steps", "warning", message, {"captures": found})
