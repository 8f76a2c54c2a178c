"""Benign profiles: from attack-free training captures, else from the first seconds of the stream. No frame label is read.

Which capture is attack-free is the data set's own statement about a recording (the catalogue's ``attack`` column),
not a label of a frame; test captures never give a profile to anything but themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.errors import SourceMissing
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import FrameArrays, Frames, bus_frames
from candor.ids.config import CalibrationTask
from candor.ids.graphs.contamination import Quiet, quiet
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.stream import MIN_TIME_S, Stream, prepare
from candor.ids.graphs.windows import segments

Kind = Literal["attack_free", "stream"]


@dataclass(frozen=True)
class Assignment:
    """Which profile a capture's features are relative to.

    Attributes:
        auto: the name to use by default: ``attack_free`` if there is one (and the config allows it), else ``stream``.
        attack_free: the vehicle's profile, None where no attack-free training capture of it exists.
        stream: the capture's own first seconds.
        stream_end_s: windows that begin before it lie in the seconds the stream profile was calibrated on.
    """

    auto: str
    attack_free: str | None
    stream: str
    stream_end_s: float

    def name(self, profile: Literal["auto", "stream"]) -> str:
        return self.auto if profile == "auto" else self.stream


def calibrate(config: CalibrationTask, inputs: Inputs, out: Output) -> Result:
    """Stage: frames → ``profiles/<name>.parquet|json`` and ``assignment.json`` (capture → Assignment)."""
    ingest = inputs.path("ingest")
    catalog = pl.read_parquet(ingest / "catalog.parquet")
    folder = out.path / "profiles"
    benign = _attack_free(catalog) if config.source == "auto" else {}
    for done, (vehicle, captures) in enumerate(benign.items()):
        pieces = [piece for c in captures for piece in _training_side(_arrays(ingest, c), config)]
        measure(pieces, kind="attack_free", vehicle=vehicle, source=captures).save(
            folder, _name("vehicle", vehicle)
        )
        out.progress(done, len(benign) + len(catalog), f"profile of {vehicle}")
    assignment: dict[str, Assignment] = {}
    set_aside: dict[str, float] = {}
    for done, (capture, vehicle) in enumerate(catalog.select("capture", "vehicle").iter_rows()):
        profile = first_seconds(
            _arrays(ingest, capture),
            config.calibration_s,
            vehicle=vehicle,
            capture=capture,
            robust=config.robust,
        )
        set_aside[capture] = profile.set_aside_s
        stream = _name("stream", capture)
        profile.save(folder, stream)
        own = _name("vehicle", vehicle) if vehicle in benign else None
        assignment[capture] = Assignment(own or stream, own, stream, config.calibration_s)
        out.progress(len(benign) + done + 1, len(benign) + len(catalog), f"first seconds of {capture}")
    _write_assignment(out.path, assignment)
    by_stream = [c for c, a in assignment.items() if a.auto == a.stream]
    return Result(
        {
            "vehicles": len(benign),
            "captures": len(assignment),
            "calibrated_on_own_stream": list(by_stream),
            "set_aside_s": {c: round(s, 3) for c, s in set_aside.items() if s > 0},
        }
    )


def measure(
    pieces: Iterable[Stream], *, kind: Kind, vehicle: str, source: Sequence[str], set_aside_s: float = 0.0
) -> Profile:
    """Pool contiguous pieces of benign traffic into one profile; no interval crosses a piece.

    Medians and MAD because a single bus stall or a few injected frames in the calibration seconds must not move them.
    """
    parts = list(pieces)
    seconds = float(sum(max(p.t_n[-1] - p.t_n[0], 0.0) for p in parts if len(p)))
    frames = sum(len(p) for p in parts)
    key = np.concatenate([p.key_U[p.code_n] for p in parts] or [np.zeros(0, np.uint32)])
    key_P, code, count = np.unique(key, return_inverse=True, return_counts=True)
    dt = np.concatenate([p.dt_n for p in parts] or [np.zeros(0)])
    change = np.concatenate([p.change_n for p in parts] or [np.zeros(0, np.float32)])
    median, spread = _interval_statistics(dt, code, len(key_P), fallback_s=seconds if seconds > 0 else 1.0)
    longest = _longest_interval(dt, code, len(key_P), fallback_s=seconds if seconds > 0 else 1.0)
    low, high = _byte_range(parts, code, len(key_P))
    mask = np.zeros(len(key_P), np.uint32)
    if parts:
        np.bitwise_or.at(mask, code, np.uint32(1) << np.concatenate([dlc_code(p.dlc_n) for p in parts]))
    compared = ~np.isnan(change)
    number = np.bincount(code[compared], minlength=len(key_P))
    flips = np.bincount(code[compared], weights=change[compared], minlength=len(key_P))
    return Profile(
        key_P=key_P,
        count_P=count.astype(np.int64),
        median_interval_s_P=median,
        log_spread_P=spread,
        longest_interval_s_P=longest,
        bit_change_P=flips / np.maximum(number, 1),
        byte_min_PB=low,
        byte_max_PB=high,
        dlc_mask_P=mask,
        frames_per_s=frames / seconds if seconds > 0 else 0.0,
        seconds=seconds,
        frames=frames,
        kind=kind,
        vehicle=vehicle,
        source=tuple(source),
        set_aside_s=set_aside_s,
    )


def first_seconds(
    frames: FrameArrays, calibration_s: float, *, vehicle: str, capture: str, robust: bool = False
) -> Profile:
    """Profile of a stream from its own first ``calibration_s`` seconds, without labels (what a live detector can do).

    ``robust``: leave out what in them looks unlike the rest, in case an attack has begun already.
    """
    t = frames.t[bus_frames(frames)]
    # By row order up to the first frame past the mark: time may step back a little, a live reader would not wait.
    past = np.flatnonzero(t >= calibration_s)
    stop = int(past[0]) if len(past) else len(t)
    start = prepare(frames, 0, stop)
    kept = quiet(frames, start) if robust else Quiet([start], 0.0)
    return measure(
        kept.pieces, kind="stream", vehicle=vehicle, source=[capture], set_aside_s=kept.set_aside_s
    )


def load_assignment(folder: Path) -> dict[str, Assignment]:
    """Read ``assignment.json`` of a calibrate artifact. Raises SourceMissing if it is not there."""
    try:
        raw = json.loads((folder / "assignment.json").read_text())
    except FileNotFoundError as e:
        raise SourceMissing("no assignment of profiles to captures", place=str(folder)) from e
    return {capture: Assignment(**fields) for capture, fields in raw.items()}


def _write_assignment(folder: Path, assignment: dict[str, Assignment]) -> None:
    text = json.dumps({capture: vars(a) for capture, a in assignment.items()}, indent=1)
    (folder / "assignment.json").write_text(text)


def _attack_free(catalog: pl.DataFrame) -> dict[str, list[str]]:
    """Vehicle → its attack-free training captures, each recording once (data sets file some twice)."""
    rows = catalog.filter((pl.col("split") == "train") & (pl.col("attack") == ""))
    rows = rows.unique("frames_sha256", keep="first", maintain_order=True)
    return {
        str(vehicle): group["capture"].to_list()
        for (vehicle,), group in rows.group_by("vehicle", maintain_order=True)
    }


def _training_side(frames: FrameArrays, config: CalibrationTask) -> list[Stream]:
    num_frames = len(bus_frames(frames))
    return [prepare(frames, s.start, s.stop) for s in segments(num_frames, config.split) if s.side == "train"]


def _arrays(ingest: Path, capture: str) -> FrameArrays:
    return Frames.arrays(ingest / "frames" / f"{capture}.parquet")


def _name(kind: str, of: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '_', of)}"


def _interval_statistics(
    dt_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_ids: int, *, fallback_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Median interval, and 1.4826 × MAD of ln(interval), per ID. IDs without an interval get ``fallback_s`` and 0."""
    has = ~np.isnan(dt_n)
    code, dt = code_n[has], np.maximum(dt_n[has], MIN_TIME_S)
    median = group_median(dt, code, num_ids, empty=fallback_s)
    deviation = np.abs(np.log(dt) - np.log(median)[code])
    spread = 1.4826 * group_median(deviation, code, num_ids, empty=0.0)
    return median, np.where(np.bincount(code, minlength=num_ids) >= 2, spread, 0.0)


def _longest_interval(
    dt_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_ids: int, *, fallback_s: float
) -> npt.NDArray[np.float64]:
    """Longest interval of each ID; ``fallback_s`` for IDs without one."""
    has = ~np.isnan(dt_n)
    longest = np.zeros(num_ids)
    np.maximum.at(longest, code_n[has], dt_n[has])
    return np.where(longest > 0, longest, fallback_s)


def group_median(
    value_n: npt.NDArray[np.float64], code_n: npt.NDArray[np.int64], num_groups: int, *, empty: float
) -> npt.NDArray[np.float64]:
    """Median of the values of each group 0..num_groups−1; ``empty`` for a group without values."""
    value = value_n[np.lexsort((value_n, code_n))]
    count = np.bincount(code_n, minlength=num_groups)
    begin = np.cumsum(count) - count
    result = np.full(num_groups, empty)
    has = count > 0
    begin, count = begin[has], count[has]
    result[has] = 0.5 * (value[begin + (count - 1) // 2] + value[begin + count // 2])
    return result


def _byte_range(
    parts: Sequence[Stream], code_n: npt.NDArray[np.int64], num_ids: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    low, high = np.full((num_ids, 8), 255, np.uint8), np.zeros((num_ids, 8), np.uint8)
    if not len(code_n):
        return low, high
    data = np.concatenate([p.data_n8 for p in parts])
    inside = np.arange(8) < np.concatenate([p.size_n for p in parts])[:, None]
    order = np.argsort(code_n, kind="stable")
    begin = np.flatnonzero(np.r_[True, np.diff(code_n[order]) > 0])
    low[:] = np.minimum.reduceat(np.where(inside, data, 255)[order], begin, axis=0)
    high[:] = np.maximum.reduceat(np.where(inside, data, 0)[order], begin, axis=0)
    return low, high
