"""A small world for evaluator tests: captures with events, windows on them, and scores of chosen quality."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from candor.flow.stage import Inputs, Output
from candor.ids.graphs.store import WINDOW_DTYPE
from candor.ids.scoring import SCORE_SCHEMA

EVENT_COLUMNS = {"capture": pl.String, "attack": pl.String, "t_start": pl.Float64, "t_end": pl.Float64}


class Quiet:
    """Recorder and progress that keep nothing."""

    def log(self, step: int, metrics: object, *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


def output(folder: Path) -> Output:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Output(folder / "out", folder / "scratch", Quiet(), Quiet())


def windows(
    capture: str,
    y: list[int] | np.ndarray,
    *,
    scenario: str = "s",
    split: str = "test",
    attack: str = "dos",
    seconds: float = 1.0,
    calibration: int = 0,
) -> pl.DataFrame:
    """One window per second; the first ``calibration`` of them calibrated the profile."""
    n = len(y)
    return pl.DataFrame(
        {
            "split": [split] * n,
            "scenario": [scenario] * n,
            "capture": [capture] * n,
            "window": np.arange(n),
            "t0": np.arange(n) * seconds,
            "t1": (np.arange(n) + 1) * seconds - 1e-3,
            "y": list(y),
            "attack": [attack if v else "" for v in y],
            "calibration": np.arange(n) < calibration,
        },
        schema_overrides={
            k: v for k, v in SCORE_SCHEMA.items() if k not in ("detector", "variant", "seed", "score")
        },
    )


def scored(
    rows: pl.DataFrame, score: object, detector: str = "gat", variant: str = "teacher", seed: int = 1
) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(detector).alias("detector"),
        pl.lit(variant).alias("variant"),
        pl.lit(seed, pl.Int64).alias("seed"),
        pl.Series("score", np.asarray(score, float)),
    ).select(*SCORE_SCHEMA)


def events(*rows: tuple[str, str, float, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=EVENT_COLUMNS, orient="row")


def validation_graphs(folder: Path, rows: pl.DataFrame) -> None:
    """What window_rows reads of a store that has these windows."""
    rows = rows.unique(["capture", "window"]).sort("capture", "window")
    captures = rows["capture"].unique(maintain_order=True).to_list()
    families = sorted(set(rows["attack"]) - {""})
    window = np.zeros(rows.height, WINDOW_DTYPE)
    window["capture"] = [captures.index(c) for c in rows["capture"]]
    window["index"] = window["start"] = rows["window"].to_numpy()
    for name in ("t0", "t1", "calibration"):
        window[name] = rows[name].to_numpy()
    folder.mkdir(parents=True)
    np.save(folder / "window.npy", window)
    np.save(folder / "y.npy", rows["y"].to_numpy())
    np.save(folder / "attack.npy", [families.index(a) if a else -1 for a in rows["attack"]])
    meta = {
        "captures": [{"capture": c} for c in captures],
        "attacks": families,
        "window": {"stride_frames": 1},
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def world(
    folder: Path, scores: dict[str, pl.DataFrame], happened: pl.DataFrame, unlabelled: tuple[str, ...] = ()
) -> Inputs:
    """Artifacts as evaluate reads them."""
    # Tables with a column too few are what some tests are about.
    held = pl.concat([df.filter(split="val") for df in scores.values()], how="diagonal")
    held = pl.concat([windows("", []), held], how="diagonal").fill_null(False)
    validation_graphs(folder / "build_train" / "val", held)
    ingest = folder / "ingest"
    ingest.mkdir(parents=True)
    happened.write_parquet(ingest / "events.parquet")
    captures = sorted({c for df in scores.values() for c in df["capture"].unique()})
    pl.DataFrame({"capture": captures, "labelled": [c not in unlabelled for c in captures]}).write_parquet(
        ingest / "catalog.parquet"
    )
    paths = {"ingest": ingest, "build_train": folder / "build_train"}
    for name, df in scores.items():
        (folder / name).mkdir()
        df.write_parquet(folder / name / "scores.parquet")
        paths[f"scores.{name}"] = folder / name
    return Inputs(paths)
