"""The stages of payload dynamics (models/payload.py): what bytes cost on training vehicles, and scores of all windows.

Like the controls they read frames, not graphs, and judge the same windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.bus_windows import BusWindows, benign, bus_windows, calibration, stream_of
from candor.ids.config import PayloadConfig
from candor.ids.graphs.stream import Stream
from candor.ids.judging import judge_windows
from candor.ids.models import payload as dynamics
from candor.ids.models.payload import Costs, Counts, Piece

#: Its name among the detectors; no variant of a model family, and no seed: nothing is drawn.
DETECTOR, VARIANT = "payload", "label_free"


def fit_payload(config: PayloadConfig, inputs: Inputs, out: Output) -> Result:
    """What bytes cost by behaviour, from the benign frames of training windows: ``costs.json``.

    Inputs: ``ingest`` (frames/), ``build_train`` (train/).

    Raises:
        DataError: no benign frame lies in a training window.
    """
    frames, folder = inputs.path("ingest") / "frames", inputs.path("build_train") / "train"
    return Result(
        {**learn_from_benign(frames, folder, config.calibration_s, out.path, what="payload dynamics")}
    )


def learn_from_benign(
    frames: Path,
    folder: Path,
    calibration_s: float,
    out: Path,
    *,
    what: str,
    look: Callable[[str, Piece], None] = lambda vehicle, piece: None,
) -> dict[str, int]:
    """Write costs.json from the benign frames of the windows in ``folder``; how many captures and frames these were.

    Args:
        what: the detector, in an error. look: is shown the benign frames of every capture, with its vehicle.

    Raises:
        DataError: there is none.
    """
    counts: list[int] = []

    def pieces() -> Iterator[Piece]:
        """One capture at a time: a training set need not fit into memory."""
        for part in bus_windows(folder):
            piece = benign(stream_of(frames, part.capture), part)
            look(part.vehicle, piece)
            counts.append(len(piece.frames))
            yield piece

    costs = dynamics.learn_costs(pieces(), calibration_s)
    if not any(counts):
        raise DataError(
            f"no benign frame in any training window: {what} have nothing to learn from",
            place=folder.name,
            hint="Add an attack-free training capture, or use shorter windows.",
        )
    write_costs(costs, out)
    return {"captures": len(counts), "benign_frames": sum(counts)}


def score_payload(config: PayloadConfig, inputs: Inputs, out: Output) -> Result:
    """Scores of validation and test windows: ``scores.parquet``; ``causes.parquet`` names the ID and view behind each.

    Every capture is judged by its own first ``calibration_s`` seconds, without labels.

    Inputs: ``payload``, ``ingest`` (frames/), ``build_train`` (train/, val/), ``build_test`` (test/).
    """
    frames, train = inputs.path("ingest") / "frames", inputs.path("build_train")
    costs = read_costs(inputs.path("payload"))
    known = _vehicles(frames, train / "train") if config.source == "vehicle" else {}
    folders = {"val": train / "val", "test": inputs.path("build_test") / "test"}
    return judge_windows(
        folders,
        lambda part: _judge(frames, part, costs, known.get(part.vehicle), config),
        out,
        detector=DETECTOR,
        variant=VARIANT,
        views=dynamics.VIEWS,
        what="payload dynamics",
    )


def _judge(
    frames: Path, part: BusWindows, costs: Costs, known: Counts | None, config: PayloadConfig
) -> tuple[dynamics.WindowSurprise, Stream]:
    """All windows of one capture; calibration looks at no label."""
    stream = stream_of(frames, part.capture)
    model = dynamics.fit(
        [calibration(stream, config.calibration_s)], costs, prior_frames=config.prior_frames, known=known
    )
    z_nQ = model.surprise(Piece(stream, np.arange(len(stream))))
    return dynamics.window_scores(stream, z_nQ, part.start, part.stop), stream


def _vehicles(frames: Path, folder: Path) -> dict[str, Counts]:
    """What the benign training frames of each vehicle did."""
    found: dict[str, Counts] = {}
    for part in bus_windows(folder):
        counts = Counts.of([benign(stream_of(frames, part.capture), part)])
        found[part.vehicle] = counts.plus(found.get(part.vehicle))
    return found


def write_costs(costs: Costs, folder: Path) -> None:
    """``costs.json``: mean and variance by behaviour and view, bits."""
    table = {
        behaviour: {
            view: {"mean_bits": costs.mean_CQ[c, q], "variance_bits": costs.variance_CQ[c, q]}
            for q, view in enumerate(dynamics.VIEWS)
        }
        for c, behaviour in enumerate(dynamics.BEHAVIOURS)
    }
    (folder / "costs.json").write_text(json.dumps(table, indent=1))


def read_costs(folder: Path) -> Costs:
    """From an artifact that holds costs.json."""
    table = json.loads((folder / "costs.json").read_text())
    mean, variance = (
        np.array([[table[b][v][name] for v in dynamics.VIEWS] for b in dynamics.BEHAVIOURS])
        for name in ("mean_bits", "variance_bits")
    )
    return Costs(mean, variance)
