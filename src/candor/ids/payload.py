"""The stages of payload dynamics (models/payload.py): what bytes cost on training vehicles, and scores of all windows.

Like the controls they read frames, not graphs, and judge the same windows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import Frames
from candor.ids.config import PayloadConfig
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models import payload as dynamics
from candor.ids.models.payload import Costs, Counts, Piece
from candor.ids.scoring import score_frame, window_rows

#: Its name among the detectors; no variant of a model family, and no seed: nothing is drawn.
DETECTOR, VARIANT = "payload", "label_free"


@dataclass(frozen=True)
class _Windows:
    """Windows of one capture in a GraphStore folder: ``rows`` are their positions in it, [start, stop) their frames."""

    capture: str
    vehicle: str
    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def fit_payload(config: PayloadConfig, inputs: Inputs, out: Output) -> Result:
    """What bytes cost by behaviour, from the benign frames of training windows: ``costs.json``.

    Inputs: ``ingest`` (frames/), ``build_train`` (train/).

    Raises:
        DataError: no benign frame lies in a training window.
    """
    frames, folder = inputs.path("ingest") / "frames", inputs.path("build_train") / "train"
    pieces = [_benign(_stream(frames, part.capture), part) for part in _captures(folder)]
    if not any(len(piece.frames) for piece in pieces):
        raise DataError(
            "no benign frame in any training window: payload dynamics have nothing to learn from",
            place=folder.name,
            hint="Add an attack-free training capture, or use shorter windows.",
        )
    costs = dynamics.learn_costs(pieces, config.calibration_s)
    table = {
        behaviour: {
            view: {"mean_bits": costs.mean_CQ[c, q], "variance_bits": costs.variance_CQ[c, q]}
            for q, view in enumerate(dynamics.VIEWS)
        }
        for c, behaviour in enumerate(dynamics.BEHAVIOURS)
    }
    (out.path / "costs.json").write_text(json.dumps(table, indent=1))
    return Result({"captures": len(pieces), "benign_frames": sum(len(piece.frames) for piece in pieces)})


def score_payload(config: PayloadConfig, inputs: Inputs, out: Output) -> Result:
    """Scores of validation and test windows: ``scores.parquet``; ``causes.parquet`` names the ID and view behind each.

    Every capture is judged by its own first ``calibration_s`` seconds, without labels.

    Inputs: ``payload``, ``ingest`` (frames/), ``build_train`` (train/, val/), ``build_test`` (test/).
    """
    frames, train = inputs.path("ingest") / "frames", inputs.path("build_train")
    costs = _read_costs(inputs.path("payload"))
    known = _vehicles(frames, train / "train") if config.source == "vehicle" else {}
    tables, causes = [], []
    for done, (split, folder) in enumerate(
        {"val": train / "val", "test": inputs.path("build_test") / "test"}.items()
    ):
        out.progress(done, 2, f"payload dynamics of {split} windows")
        rows = window_rows(folder, split)
        score = np.zeros(len(rows))
        node, view = np.full(len(rows), -1, np.int64), np.full(len(rows), "", object)
        for part in _captures(folder):
            found, stream = _judge(frames, part, costs, known.get(part.vehicle), config)
            score[part.rows] = found.score_G
            named = found.worst_G >= 0
            node[part.rows[named]] = stream.key_U[found.worst_G[named]]
            view[part.rows[named]] = np.array(dynamics.VIEWS, object)[found.view_G[named]]
        tables.append(score_frame(rows, score, detector=DETECTOR, variant=VARIANT))
        place = rows.select("split", "scenario", "capture", "window", "t0", "t1", "y")
        causes.append(
            place.with_columns(node_id=pl.Series(node), view=pl.Series(view.tolist(), dtype=pl.String))
        )
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    pl.concat(causes).write_parquet(out.path / "causes.parquet", compression="zstd")
    return Result({"windows": sum(len(t) for t in tables)})


def _judge(
    frames: Path, part: _Windows, costs: Costs, known: Counts | None, config: PayloadConfig
) -> tuple[dynamics.WindowSurprise, Stream]:
    """All windows of one capture; calibration looks at no label."""
    stream = _stream(frames, part.capture)
    # By row order up to the first frame past the mark, as the profile of a stream is.
    past = np.flatnonzero(stream.t_n >= config.calibration_s)
    calibration = Piece(stream, np.arange(int(past[0]) if len(past) else len(stream)))
    model = dynamics.fit([calibration], costs, prior_frames=config.prior_frames, known=known)
    z_nQ = model.surprise(Piece(stream, np.arange(len(stream))))
    return dynamics.window_scores(stream, z_nQ, part.start, part.stop), stream


def _vehicles(frames: Path, folder: Path) -> dict[str, Counts]:
    """What the benign training frames of each vehicle did."""
    pieces: dict[str, list[Piece]] = {}
    for part in _captures(folder):
        pieces.setdefault(part.vehicle, []).append(_benign(_stream(frames, part.capture), part))
    return {vehicle: Counts.of(of) for vehicle, of in pieces.items()}


def _read_costs(folder: Path) -> Costs:
    table = json.loads((folder / "costs.json").read_text())
    mean, variance = (
        np.array([[table[b][v][name] for v in dynamics.VIEWS] for b in dynamics.BEHAVIOURS])
        for name in ("mean_bits", "variance_bits")
    )
    return Costs(mean, variance)


def _stream(frames: Path, capture: str) -> Stream:
    return prepare(Frames.arrays(frames / f"{capture}.parquet"))


def _benign(stream: Stream, part: _Windows) -> Piece:
    """Benign frames that lie in a window; where an attack frame was taken out, the past is forgotten."""
    edges = np.zeros(len(stream) + 1, np.int64)
    np.add.at(edges, part.start, 1)
    np.add.at(edges, part.stop, -1)
    return Piece(stream, np.flatnonzero((np.cumsum(edges[:-1]) > 0) & (stream.y_n == 0)))


def _captures(folder: Path) -> Iterator[_Windows]:
    meta = json.loads((folder / "meta.json").read_text())
    width = int(meta["window"]["window_frames"])
    window = np.load(folder / "window.npy")
    for number, capture in enumerate(meta["captures"]):
        rows = np.flatnonzero(window["capture"] == number)
        if len(rows):
            start = window["start"][rows].astype(np.int64)
            yield _Windows(capture["capture"], capture["vehicle"], rows, start, start + width)
