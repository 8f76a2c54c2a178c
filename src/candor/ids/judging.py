"""Scores of all windows by a detector that reads frames, with the identifier and the view behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from candor.flow.stage import Output, Result
from candor.ids.bus_windows import BusWindows, bus_windows
from candor.ids.graphs.stream import Stream
from candor.ids.models.payload import WindowSurprise
from candor.ids.scoring import score_frame, window_rows


def judge_windows(
    folders: Mapping[str, Path],
    judge: Callable[[BusWindows], tuple[WindowSurprise, Stream]],
    out: Output,
    *,
    detector: str,
    variant: str,
    views: Sequence[str],
    what: str,
) -> Result:
    """Write ``scores.parquet``, and ``causes.parquet`` with the ID and view that weigh most in each window.

    Args:
        folders: split → GraphStore folder.
        judge: all windows of one capture.
        what: the detector, as progress names it.
    """
    tables, causes = [], []
    for done, (split, folder) in enumerate(folders.items()):
        out.progress(done, len(folders), f"{what} of {split} windows")
        rows = window_rows(folder, split)
        score = np.zeros(len(rows))
        node, view = np.full(len(rows), -1, np.int64), np.full(len(rows), "", object)
        for part in bus_windows(folder):
            found, stream = judge(part)
            score[part.rows] = found.score_G
            named = found.worst_G >= 0
            node[part.rows[named]] = stream.key_U[found.worst_G[named]]
            view[part.rows[named]] = np.array(views, object)[found.view_G[named]]
        tables.append(score_frame(rows, score, detector=detector, variant=variant))
        place = rows.select("split", "scenario", "capture", "window", "t0", "t1", "y")
        causes.append(
            place.with_columns(node_id=pl.Series(node), view=pl.Series(view.tolist(), dtype=pl.String))
        )
    pl.concat(tables).write_parquet(out.path / "scores.parquet", compression="zstd")
    pl.concat(causes).write_parquet(out.path / "causes.parquet", compression="zstd")
    return Result({"windows": sum(len(t) for t in tables)})
