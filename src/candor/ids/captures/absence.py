"""True events from absence: when an ID was silent for longer than attack-free captures of its vehicle allow.

An attack that removes frames leaves none to label. Where nobody wrote its intervals down either, they are derived here, from
the capture and from attack-free captures of the same vehicle (the reference), and from nothing that a detector made. The
specialist ``absence`` follows the same idea with a rule of its own; it must not be judged by these events without a
warning, which the audit, the table and the page give.

The rule, by ID:
    judged    IDs of at least ``min_frames`` reference frames, 99 % of whose intervals are at most two medians long, that
              every reference capture holds. Of one that this capture never holds nothing is said: it may be other equipment.
    allowed   factor x the longest silence of the ID in the reference.
    factor    2, so that at least one more cycle is missing than ever before; or more, where the reference itself needs it:
              every reference capture is judged by the others (a single one: each half by the other), and the longest silence
              so found, over the longest of the others, is the ID's factor. So no attack-free capture holds an event by the
              rule that it is held to. ``Absence.factor`` replaces all that by one number.
    event     from one median interval after the last frame heard (the first frame missed) to the next frame heard, or to the
              capture's end; silence before an ID's first frame counts from the capture's start. Events of several IDs
              that are closer than ``event_gap_s`` are one.
    time      a bus that is silent as a whole, for longer than the reference ever was, is a gap in the recording: beyond
              the reference's longest step the clock of silences stands still.

What it cannot see: an ID silent from before the capture to beyond its end, an ID that sends by event, a suppression
shorter than what the reference allows. A vehicle in another state than the reference (standing, driving) may change its cycles.

Legend: n frames of one capture, P IDs of the reference, S silences of one ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.captures import events
from candor.ids.captures.frames import ERROR, EXTENDED
from candor.ids.config import Absence

Floats = NDArray[np.float64]

#: An ID sends in cycles if this share of its intervals ...
_SHARE: Final = 0.99
#: ... is at most so many medians long.
_CYCLES: Final = 2.0
#: At least one more cycle than ever must be missing.
_LEAST: Final = 2.0
_EXTENDED_BIT: Final = 1 << 29


@dataclass(frozen=True)
class Heard:
    """What a capture says of who sent when.

    Attributes:
        t_n: s since the capture's first frame, never going back. key_n: ID, extended ones with bit 29.
    """

    t_n: Floats
    key_n: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Heard:
        """Frames of a published capture, error frames left out."""
        table = pl.read_parquet(path, columns=["timestamp", "id", "flags"])
        first = float(table["timestamp"][0]) if table.height else 0.0
        table = table.filter((pl.col("flags") & ERROR) == 0)
        key = table["id"].to_numpy().astype(np.int64)
        key += np.where((table["flags"].to_numpy() & EXTENDED) != 0, _EXTENDED_BIT, 0)
        return cls(np.maximum.accumulate(table["timestamp"].to_numpy() - first), key)

    def halves(self) -> tuple[Heard, Heard]:
        """Cut in the middle of its time, both from 0 s."""
        if not len(self.t_n):
            return self, self
        middle = (self.t_n[0] + self.t_n[-1]) / 2
        late = self.t_n > middle
        return Heard(self.t_n[~late], self.key_n[~late]), Heard(self.t_n[late] - middle, self.key_n[late])


@dataclass(frozen=True)
class Rule:
    """How long which ID may be silent: by ID, seconds. ``step_s``: the longest the whole bus was silent."""

    median_s: Mapping[int, float]
    longest_s: Mapping[int, float]
    factor: Mapping[int, float]
    step_s: float

    def allowed_s(self, key: int) -> float:
        return self.factor[key] * self.longest_s[key]


@dataclass(frozen=True)
class Found:
    """Events of a capture, the IDs that fell silent (with how often), and judged IDs that it never held."""

    table: pl.DataFrame
    silent: dict[int, int]
    never: tuple[int, ...]


def measure(reference: Sequence[Heard], config: Absence) -> Rule:
    """The rule of a vehicle from its attack-free captures; no ID is judged where they are too short to tell."""
    pieces = list(reference) if len(reference) > 1 else [half for one in reference for half in one.halves()]
    everywhere = set.intersection(*(set(np.unique(p.key_n).tolist()) for p in pieces)) if pieces else set()
    median_s, longest_s = _cycles(reference, everywhere, config.min_frames)
    step_s = max((float(np.diff(h.t_n).max(initial=0.0)) for h in reference), default=0.0)
    factor = dict.fromkeys(longest_s, config.factor or _LEAST)
    if config.factor is None:
        for held in range(len(pieces)):
            others = [piece for i, piece in enumerate(pieces) if i != held]
            _, known_s = _cycles(others, set(longest_s), 2)
            own = _silences(pieces[held], step_s)
            for key in longest_s:
                longest = own[key][1].max(initial=0.0) if key in own else 0.0
                factor[key] = max(factor[key], longest / known_s[key]) if key in known_s else np.inf
    judged = {key for key in longest_s if np.isfinite(factor[key])}
    return Rule(
        {k: median_s[k] for k in judged},
        {k: longest_s[k] for k in judged},
        {k: float(factor[k]) for k in judged},
        step_s,
    )


def find(capture: Heard, rule: Rule, *, name: str, attack: str, gap_s: float) -> Found:
    """Events of one capture by the rule."""
    silences = _silences(capture, rule.step_s)
    spans: list[dict[str, object]] = []
    silent: dict[int, int] = {}
    for key in sorted(rule.longest_s):
        if key not in silences:
            continue
        begin_s, length_s, end_s = silences[key]
        over = length_s > rule.allowed_s(key) * (1 + 1e-9)
        if over.any():
            silent[key] = int(over.sum())
            for begin, end in zip(begin_s[over], end_s[over], strict=True):
                start = min(begin + rule.median_s[key], end)
                spans.append({"capture": name, "attack": attack, "t_start": start, "t_end": end})
    table = events.join([pl.DataFrame(spans, schema=events.SCHEMA)], gap_s) if spans else _none()
    return Found(table, silent, tuple(sorted(set(rule.longest_s) - set(silences))))


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=events.SCHEMA)


def _cycles(
    reference: Sequence[Heard], keys: set[int], min_frames: int
) -> tuple[dict[int, float], dict[int, float]]:
    """Median and longest interval of the IDs among ``keys`` that send in cycles; no interval crosses a capture."""
    steps: dict[int, list[Floats]] = {}
    for heard in reference:
        for key, t in _times(heard).items():
            if key in keys:
                steps.setdefault(key, []).append(np.diff(t))
    median_s, longest_s = {}, {}
    for key, parts in steps.items():
        dt = np.concatenate(parts)
        if len(dt) + len(parts) < min_frames or not len(dt):
            continue
        middle, most = float(np.median(dt)), float(dt.max())
        if most > 0 and np.quantile(dt, _SHARE) <= _CYCLES * max(middle, 1e-6):
            median_s[key], longest_s[key] = middle, most
    return median_s, longest_s


def _times(heard: Heard) -> dict[int, Floats]:
    """Times of every ID's frames, s."""
    order = np.argsort(heard.key_n, kind="stable")
    keys, begin = np.unique(heard.key_n[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(heard.t_n[order], begin[1:]), strict=True)) if len(keys) else {}


def _silences(heard: Heard, step_s: float) -> dict[int, tuple[Floats, Floats, Floats]]:
    """Begin, length and end of every ID's silences, s: [S] each; the length on a clock that skips gaps of the bus."""
    if not len(heard.t_n):
        return {}
    start, end = 0.0, float(heard.t_n[-1])
    steps = np.minimum(np.diff(heard.t_n, prepend=start), step_s)
    clock_n = np.cumsum(steps)
    found = {}
    for key, t in _times(heard).items():
        # Searched by time, as frames of one time have one clock.
        at = clock_n[np.searchsorted(heard.t_n, t, side="right") - 1]
        marks, clock = np.r_[start, t, end], np.r_[0.0, at, clock_n[-1]]
        found[key] = (marks[:-1], np.diff(clock), marks[1:])
    return found
