"""Raw CSV → packed graphs: against pandas and one window after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import naive, traffic
from benchmarks.timing import Measurement, save, seconds
from candor.ids.captures import can_train_and_test, formats
from candor.ids.captures import frames as fr
from candor.ids.captures.frame_file import FrameArray
from candor.ids.captures.frames import FrameArrays
from candor.ids.captures.stream import parse
from candor.ids.graphs.blocks import build_blocks

WIDTH, REPEATED, NAIVE_ROWS = 100, 4, 60_000


def write(folder: Path) -> tuple[Path, Path, int]:
    """A large CSV, and a small one for the slow way."""
    tables = [t.with_columns(channel=pl.lit("")) for t in traffic.tables()]
    table = pl.concat(tables * REPEATED)
    table = table.with_columns(timestamp=pl.Series(np.arange(len(table)) * 5e-4))
    large, small = folder / "large.csv", folder / "small.csv"
    large.write_bytes(can_train_and_test.write(table))
    small.write_bytes(can_train_and_test.write(table[:NAIVE_ROWS]))
    return large, small, len(table)


def imported(path: Path) -> int:
    """The reader of ingest: every row is judged, lines that look as they should in compiled code."""
    kind = formats.FORMATS["can_train_and_test"]
    return built(fr.to_arrays(parse(path.read_bytes(), kind, path.name, max_backstep_s=1.0).frames))


def built(frames: FrameArrays) -> int:
    capture = FrameArray(frames)
    begin = traffic.starts(len(capture), WIDTH)
    blocks = build_blocks(capture, traffic.profile(), (begin, begin + WIDTH))
    return sum(len(g) for _, g in blocks)


def usual(path: Path) -> int:
    t, ids, data, label = naive.read_csv(path)
    flags = np.zeros(len(t), np.uint8)
    code = np.where(label == 1, 0, -1).astype(np.int16)
    dlc = np.full(len(t), 8, np.uint8)
    frames = FrameArrays(
        t - t[0], ids.astype(np.uint32), data, dlc, label.astype(np.uint8), code, ["attack"], flags
    )
    return len(naive.per_window(frames, traffic.profile(), traffic.starts(len(t), WIDTH), WIDTH))


def run() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        large, small, rows = write(Path(folder))
        took = seconds(
            {
                "ours": lambda: imported(large),
                "pandas": lambda: usual(small),
            },
            repeats=5,
        )
    ours, theirs = rows / took["ours"], NAIVE_ROWS / took["pandas"]
    figures = {"M rows/s": round(ours / 1e6, 3)}
    figures |= {"pandas + per-window": round(theirs / 1e6, 3)}
    bound = "arithmetic of one core"
    return [Measurement("end_to_end", ours / theirs, 20, "× pandas + per-window", bound, figures)]


if __name__ == "__main__":
    save(run())
