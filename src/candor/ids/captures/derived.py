"""Captures whose true events are derived from absence: by which reference, and what must be told of it.

The rule itself is `candor.ids.captures.absence`. A capture that asks for it and cannot have it is an error: it would else
count as benign.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from candor.errors import DataError
from candor.ids.captures.absence import Heard, find, measure
from candor.ids.captures.formats import FORMATS
from candor.ids.config import Absence, CaptureSource

#: File of an ingest artifact that says how events were derived; only where a capture asks for it.
TOLD: Final = "truth.json"


def derive(
    source: CaptureSource,
    rows: Sequence[Mapping[str, object]],
    same_as: Mapping[str, str],
    frames: Path,
    *,
    gap_s: float,
) -> tuple[pl.DataFrame, dict[str, object]]:
    """Events of a capture that declares absence, and what `truth.json` says of them.

    Args:
        source: the capture; its ``events`` are an `Absence`.
        rows: catalog rows of all captures. same_as: captures that were dropped → the one of the same frames.
        frames: folder of the published frames.

    Raises:
        DataError: the format has no time, there is no attack-free capture of the vehicle, it holds no ID that sends in
            cycles, or no ID is silent for longer than allowed. The capture would else count as benign.
    """
    assert isinstance(source.events, Absence)
    name, config = source.capture, source.events
    row = next(r for r in rows if r["capture"] == name)
    declare = f"Declare the intervals of {name} in the dataset's preset (events), or leave the capture out."
    if not FORMATS[str(row["format"])].timed:
        raise _refusal(f"its format ({row['format']}) has no timestamps", name, declare)
    reference = _reference(source, config, rows, same_as)
    rule = measure([Heard.read(frames / f"{capture}.parquet") for capture in reference], config)
    by = ", ".join(reference)
    if not rule.longest_s:
        fact = f"no ID of {by} sends in cycles over at least {config.min_frames} frames"
        raise _refusal(fact, name, declare)
    heard = Heard.read(frames / f"{name}.parquet")
    found = find(heard, rule, name=name, attack=source.attack or "suppress", gap_s=gap_s)
    if found.table.is_empty():
        never = f"; {len(found.never)} of them it never holds" if found.never else ""
        fact = f"none of {len(rule.longest_s)} IDs is silent for longer than {by} allow{never}"
        raise _refusal(fact, name, declare)
    factors = sorted(rule.factor[key] for key in found.silent)
    told: dict[str, object] = {
        "capture": name,
        "attack": source.attack or "suppress",
        "reference": reference,
        "factor": "configured" if config.factor else "measured on the reference",
        "factors": [factors[0], factors[-1]],
        "ids_judged": len(rule.longest_s),
        "silent": {f"{key:X}": times for key, times in found.silent.items()},
        "allowed_s": {f"{key:X}": rule.allowed_s(key) for key in found.silent},
        "never_heard": [f"{key:X}" for key in found.never],
        "events": found.table.height,
    }
    return found.table, told


def _reference(
    source: CaptureSource, config: Absence, rows: Sequence[Mapping[str, object]], same_as: Mapping[str, str]
) -> list[str]:
    """Attack-free captures of the vehicle, of either split: truth is no training. Raises DataError without one."""
    free = [
        str(r["capture"])
        for r in rows
        if r["vehicle"] == source.vehicle
        and r["attack"] == ""
        and not r["attack_frames"]
        and r["capture"] != source.capture
    ]
    wanted = [same_as.get(capture, capture) for capture in config.reference]
    wrong = next((capture for capture in wanted if capture not in free), None)
    known = f"Attack-free captures of {source.vehicle}: {', '.join(free) or 'none'}."
    if wrong:
        raise _refusal(f"'{wrong}' is no attack-free capture of {source.vehicle} here", source.capture, known)
    if not free:
        hint = f"Add an attack-free capture of {source.vehicle}, declare the intervals (events), or leave the capture out."
        raise _refusal(
            f"the dataset has no attack-free capture of its vehicle ({source.vehicle})", source.capture, hint
        )
    return list(dict.fromkeys(wanted)) or free


def _refusal(fact: str, capture: str, hint: str) -> DataError:
    """The error of a capture whose events absence cannot tell: it must not count as benign."""
    return DataError(f"no true events can be derived from absence, as {fact}", place=capture, hint=hint)


def read_told(ingest: Path) -> list[dict[str, Any]]:
    """What an ingest artifact says of events derived from absence; none where no capture asked for it."""
    try:
        return list(json.loads((ingest / TOLD).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []


def note(told: Mapping[str, Any]) -> str:
    """What a table and a page must say of one such capture."""
    low, high = told["factors"]
    times = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    ids = ", ".join(told["silent"])
    return (
        f"{told['capture']}: events from absence, not from labels: {told['events']} in which an ID ({ids}) is silent for longer "
        f"than {times} x its longest silence in {', '.join(told['reference'])} (factor {told['factor']}). The specialist "
        "absence and unions with it look for the same; their figures there say little."
    )
