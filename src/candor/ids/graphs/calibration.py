"""Benign profiles: from attack-free training captures, else from the first seconds of the stream. No frame label is read.

Which capture is attack-free is the data set's own statement about a recording (the catalogue's ``attack`` column),
not a label of a frame; test captures never give a profile to anything but themselves.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from candor.errors import SourceMissing
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frame_file import FrameArray, FrameFile
from candor.ids.captures.frames import COLUMNS, FrameArrays, bus_frames, joined, to_arrays
from candor.ids.config import CalibrationTask
from candor.ids.graphs.contamination import Quiet, quiet
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import prepare
from candor.ids.graphs.tally import Tally, add_capture, measure
from candor.ids.graphs.windows import segments


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
        with Tally(out.scratch) as tally:
            for capture in captures:
                frames = _frames(ingest, capture)
                add_capture(tally, frames, _training_side(len(frames), config))
            profile = tally.profile(kind="attack_free", vehicle=vehicle, source=captures)
        profile.save(folder, _name("vehicle", vehicle))
        out.progress(done, len(benign) + len(catalog), f"profile of {vehicle}")
    assignment: dict[str, Assignment] = {}
    set_aside: dict[str, float] = {}
    for done, (capture, vehicle) in enumerate(catalog.select("capture", "vehicle").iter_rows()):
        profile = first_seconds(
            beginning(_frames(ingest, capture), config.calibration_s),
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


def beginning(capture: FrameFile | FrameArray, until_s: float) -> FrameArrays:
    """Bus frames of a capture up to the first one ``until_s`` or more after its start, and perhaps some more."""
    found = [to_arrays(pl.DataFrame(schema=COLUMNS), attack_names=capture.attack_names)]
    for frames in capture.frames():
        found.append(frames)
        if (frames.t >= until_s).any():
            break
    return joined(found)


def load_assignment(folder: Path) -> dict[str, Assignment]:
    """Read ``assignment.json`` of a calibrate artifact. Raises SourceMissing if it is not there."""
    try:
        raw = json.loads((folder / "assignment.json").read_text())
    except FileNotFoundError as e:
        raise SourceMissing(
            "no assignment of profiles to captures", place=str(folder), hint="Run calibrate again."
        ) from e
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


def _training_side(num_frames: int, config: CalibrationTask) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in segments(num_frames, config.split) if s.side == "train"]


def _frames(ingest: Path, capture: str) -> FrameFile:
    return FrameFile(ingest / "frames" / f"{capture}.parquet")


def _name(kind: str, of: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '_', of)}"
