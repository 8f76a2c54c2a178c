"""What tests of payload dynamics and of frame dynamics ask of both."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from tiny_world import TinyWorld

from candor.learn.metrics import ranking_metrics


def assert_all_windows_scored_and_forged_ones_stand_out(world: TinyWorld, scores: pl.DataFrame) -> None:
    """In the best capture of each family that forges payloads."""
    assert set(scores["split"]) == {"val", "test"}
    assert len(scores.filter(pl.col("split") == "test")) == len(world.store("test"))
    for family in ("spoofing_rpm", "masquerade"):
        capture = scores.filter(pl.col("capture").str.contains(family))
        best = max(
            ranking_metrics(part["y"].to_numpy(), part["score"].to_numpy())["auroc"][0]
            for (_,), part in capture.group_by("capture")
            if part["y"].n_unique() == 2
        )
        assert best > 0.8, family


def training_captures_alone(world: TinyWorld, folder: Path) -> Path:
    """The ingest artifact without the frames of any capture that does not train, in ``folder``."""
    meta = json.loads((world.build_train / "train" / "meta.json").read_text())
    frames = folder / "frames"
    frames.mkdir(parents=True)
    for capture in meta["captures"]:
        name = f"{capture['capture']}.parquet"
        (frames / name).symlink_to(world.ingest / "frames" / name)
    return folder
