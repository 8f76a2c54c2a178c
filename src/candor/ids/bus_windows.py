"""Windows of a GraphStore folder as frames of their captures, for detectors that read frames and not graphs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.frames import Frames
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models.payload import Piece


@dataclass(frozen=True)
class BusWindows:
    """Windows of one capture in a GraphStore folder: ``rows`` are their positions in it, [start, stop) their frames."""

    capture: str
    vehicle: str
    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def bus_windows(folder: Path) -> Iterator[BusWindows]:
    """The windows of a GraphStore folder, one capture after the other; captures without a window are left out."""
    meta = json.loads((folder / "meta.json").read_text())
    width = int(meta["window"]["window_frames"])
    window = np.load(folder / "window.npy")
    for number, capture in enumerate(meta["captures"]):
        rows = np.flatnonzero(window["capture"] == number)
        if len(rows):
            start = window["start"][rows].astype(np.int64)
            yield BusWindows(capture["capture"], capture["vehicle"], rows, start, start + width)


def stream_of(frames: Path, capture: str) -> Stream:
    """All frames of a capture; ``frames``: the folder of an ingest artifact."""
    return prepare(Frames.arrays(frames / f"{capture}.parquet"))


def benign(stream: Stream, part: BusWindows) -> Piece:
    """Benign frames that lie in a window; where an attack frame was taken out, the past is forgotten."""
    edges = np.zeros(len(stream) + 1, np.int64)
    np.add.at(edges, part.start, 1)
    np.add.at(edges, part.stop, -1)
    return Piece(stream, np.flatnonzero((np.cumsum(edges[:-1]) > 0) & (stream.y_n == 0)))


def calibration(stream: Stream, seconds: float) -> Piece:
    """The first ``seconds`` of a capture, by row order up to the first frame past the mark, as a stream's profile is."""
    past = np.flatnonzero(stream.t_n >= seconds)
    return Piece(stream, np.arange(int(past[0]) if len(past) else len(stream)))
