"""The stages of frame dynamics (models/frame_dynamics.py): what frames cost on training vehicles, and scores of all windows.

They read frames, not graphs, and judge the same windows as every detector.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from candor.flow.stage import Inputs, Output, Result
from candor.ids.bus_windows import BusWindows, calibration, stream_of
from candor.ids.config import FrameDynamicsConfig
from candor.ids.graphs.stream import Stream
from candor.ids.judging import judge_windows
from candor.ids.models import frame_dynamics as dynamics
from candor.ids.models.frame_dynamics import VIEWS, CostSums, Expected
from candor.ids.models.payload import Costs, Piece, WindowSurprise
from candor.ids.payload import VARIANT, learn_from_benign, read_costs

DETECTOR: Final = "frame_dynamics"


def fit_frame_dynamics(config: FrameDynamicsConfig, inputs: Inputs, out: Output) -> Result:
    """What benign frames of training windows cost: by behaviour of a byte (costs.json), by vehicle and ID (expected.parquet).

    Inputs: ``ingest`` (frames/), ``build_train`` (train/).

    Raises:
        DataError: no benign frame lies in a training window.
    """
    frames, folder = inputs.path("ingest") / "frames", inputs.path("build_train") / "train"
    sums: dict[str, CostSums] = {}

    def look(vehicle: str, piece: Piece) -> None:
        later = dynamics.later_costs(
            piece, calibration_s=config.calibration_s, order=config.ngram_order, smoothing=config.smoothing
        )
        sums[vehicle] = sums.get(vehicle, CostSums()).plus(*later)

    learned = learn_from_benign(
        frames, folder, config.calibration_s, out.path, what="frame dynamics", look=look
    )
    expected = {vehicle: of.expected() for vehicle, of in sums.items()}
    _table(expected).write_parquet(out.path / "expected.parquet", compression="zstd")
    return Result(
        {
            **learned,
            "expected_ids": {vehicle: len(of.key_P) for vehicle, of in expected.items()},
        }
    )


def score_frame_dynamics(config: FrameDynamicsConfig, inputs: Inputs, out: Output) -> Result:
    """Scores of validation and test windows: ``scores.parquet``; ``causes.parquet`` names the ID and view behind each.

    Every capture is judged by its own first ``calibration_s`` seconds, without labels, and by what the benign training windows
    of its vehicle cost, where there are any.

    Inputs: ``frame_dynamics``, ``ingest`` (frames/), ``build_train`` (val/), ``build_test`` (test/).
    """
    frames, learned = inputs.path("ingest") / "frames", inputs.path("frame_dynamics")
    costs, expected = read_costs(learned), _read(learned)
    folders = {"val": inputs.path("build_train") / "val", "test": inputs.path("build_test") / "test"}
    return judge_windows(
        folders,
        lambda part: _judge(frames, part, costs, expected, config),
        out,
        detector=DETECTOR,
        variant=VARIANT,
        views=VIEWS,
        what="frame dynamics",
    )


def _judge(
    frames: Path,
    part: BusWindows,
    costs: Costs,
    expected: Mapping[str, Expected],
    config: FrameDynamicsConfig,
) -> tuple[WindowSurprise, Stream]:
    """All windows of one capture; calibration looks at no label."""
    stream = stream_of(frames, part.capture)
    model = dynamics.fit(
        calibration(stream, config.calibration_s),
        costs,
        order=config.ngram_order,
        smoothing=config.smoothing,
        prior_frames=config.prior_frames,
        known=expected.get(part.vehicle),
        known_share=config.vehicle_share,
    )
    return dynamics.window_scores(stream, model.surprise(stream), part.start, part.stop), stream


def _table(expected: Mapping[str, Expected]) -> pl.DataFrame:
    parts = [
        pl.DataFrame(
            {"vehicle": [vehicle] * len(e.key_P), "key": e.key_P, "frames": e.frames_P}
        ).with_columns(
            *(pl.Series(f"{view}_mean_bits", e.mean_PQ[:, q]) for q, view in enumerate(VIEWS)),
            *(pl.Series(f"{view}_variance_bits2", e.variance_PQ[:, q]) for q, view in enumerate(VIEWS)),
        )
        for vehicle, e in expected.items()
    ]
    return pl.concat(parts)


def _read(folder: Path) -> dict[str, Expected]:
    table = pl.read_parquet(folder / "expected.parquet")
    return {
        vehicle: Expected(
            of["key"].to_numpy(),
            of["frames"].to_numpy(),
            of.select(f"{view}_mean_bits" for view in VIEWS).to_numpy(),
            of.select(f"{view}_variance_bits2" for view in VIEWS).to_numpy(),
        )
        for (vehicle,), of in table.group_by("vehicle", maintain_order=True)
    }
