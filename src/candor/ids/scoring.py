"""The one table every detector hands to the evaluator: a score per window, higher is more attack-like.

Columns are those of `candor.lake.schemas.SCORES`. Detectors and controls take the rows of a GraphStore folder
(`window_rows`) and add their scores (`score_frame`), so that all of them are judged on the same windows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from candor.errors import CaptureUnreadable, DataError, SchemaMismatch
from candor.lake.schemas import SCORES

#: Polars types of the score table, in order.
SCORE_SCHEMA: dict[str, pl.DataType] = dict(pl.DataFrame(SCORES.empty_table()).schema)
#: What makes one detector: a trained model is judged apart for every seed.
DETECTOR_KEY = ("detector", "variant", "seed")
WINDOW_KEY = ("scenario", "capture", "window")


def window_rows(folder: Path, split: str) -> pl.DataFrame:
    """Truth and place of every window of a GraphStore folder, in its order: all score columns but those of the detector.

    ``window`` counts the windows of a capture, so that consecutive numbers are neighbours; a cut skips one.
    """
    meta = json.loads((folder / "meta.json").read_text())
    window = np.load(folder / "window.npy")
    attack = np.load(folder / "attack.npy").astype(np.int64)
    captures: list[dict[str, Any]] = meta["captures"]
    families = np.array([*meta["attacks"], ""], dtype=object)  # -1, benign, takes the last.
    of = window["capture"]
    return pl.DataFrame(
        {
            "split": [split] * len(window),
            "scenario": [captures[i].get("scenario") or "" for i in of],
            "capture": [captures[i]["capture"] for i in of],
            "window": _numbers(window, meta["window"]),
            "t0": window["t0"],
            "t1": window["t1"],
            "y": np.load(folder / "y.npy"),
            "attack": families[attack].tolist(),
            "calibration": window["calibration"].astype(bool),
        },
        schema_overrides={n: t for n, t in SCORE_SCHEMA.items() if n not in (*DETECTOR_KEY, "score")},
    )


def _numbers(window: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Ordinal of each window in its capture, plus the cuts before it.

    Windows of frames continue each other a stride apart; those of seconds are known by their first frame, which lies
    somewhere in them, so that a gap of more than stride and window together is a cut.
    """
    same_capture = np.diff(window["capture"], prepend=-1) == 0
    if "stride_frames" in config:
        cut = same_capture & (np.diff(window["start"], prepend=0) != int(config["stride_frames"]))
    else:
        cut = same_capture & (np.diff(window["t0"], prepend=0.0) > config["stride_s"] + config["window_s"])
    cuts = np.cumsum(cut)
    first = np.flatnonzero(~same_capture)
    before = np.repeat(cuts[first], np.diff(np.append(first, len(window))))
    number: np.ndarray = (window["index"] + cuts - before).astype(np.int64)
    return number


def score_frame(
    rows: pl.DataFrame, score: ArrayLike, *, detector: str, variant: str, seed: int = 0
) -> pl.DataFrame:
    """Score table of one detector. ``rows``: `window_rows` of n windows; ``score``: [n], in the same order."""
    df = rows.with_columns(
        pl.lit(detector).alias("detector"),
        pl.lit(variant).alias("variant"),
        pl.lit(seed, pl.Int64).alias("seed"),
        pl.Series("score", np.asarray(score, np.float64)),
    )
    return validate(df.select(*SCORE_SCHEMA))


def validate(df: pl.DataFrame, *, place: str | None = None) -> pl.DataFrame:
    """Return ``df`` in column order if it is a score table.

    Raises SchemaMismatch for other columns or types, DataError for a score that is NaN or infinite (naming the detector
    and capture), for a window scored twice, or for times that are not finite.
    """
    if dict(df.schema) != SCORE_SCHEMA and set(df.schema.items()) != set(SCORE_SCHEMA.items()):
        wrong = sorted(set(df.schema.items()) ^ set(SCORE_SCHEMA.items()), key=str)
        raise SchemaMismatch(
            f"not a score table: {wrong[0][0]} is wrong",
            place=place,
            hint=f"Columns: {', '.join(f'{n} {t}' for n, t in SCORE_SCHEMA.items())}.",
        )
    df = df.select(*SCORE_SCHEMA)
    _refuse(df, pl.col("score").is_finite().fill_null(False).not_(), "scores are not finite", place)
    _refuse(df, (pl.col("t0") <= pl.col("t1")).fill_null(False).not_(), "windows have no valid times", place)
    key = [*DETECTOR_KEY, "split", *WINDOW_KEY]
    _refuse(df, pl.struct(key).is_duplicated(), "windows are scored twice", place)
    return df


def _refuse(df: pl.DataFrame, bad: pl.Expr, what: str, place: str | None) -> None:
    offending = df.filter(bad)
    if len(offending):
        row = offending.row(0, named=True)
        raise DataError(
            f"{len(offending)} {what} (detector {row['detector']} {row['variant']}, seed {row['seed']}; "
            f"first in capture {row['capture']}, window {row['window']}, {row['split']} split)",
            place=place,
            hint="Look at that detector's training log.",
        )


def read_scores(files: Iterable[Path]) -> pl.DataFrame:
    """Read and validate score tables, concatenated and sorted by detector, split and window."""
    parts = []
    for path in files:
        try:
            parts.append(validate(pl.read_parquet(path), place=path.parent.name))
        except (OSError, pl.exceptions.PolarsError) as e:
            raise CaptureUnreadable(
                f"scores cannot be read: {e}", place=str(path), hint="Run the stage that scored them again."
            ) from e
    if not parts:
        raise DataError("there is nothing to evaluate", hint="Declare at least one input named scores.NAME.")
    whole = pl.concat(parts)
    return validate(whole).sort([*DETECTOR_KEY, "split", *WINDOW_KEY])
