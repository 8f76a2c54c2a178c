"""A profile does not tell how its frames came: part by part, from disk, in any number of pieces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from graph_cases import bus, flood, frames, table
from naive_profile import naive_profile
from profile_equality import assert_same

from candor.ids.captures.frame_file import FrameArray, FrameFile
from candor.ids.captures.frames import ERROR, EXTENDED, REMOTE, FrameArrays, Frames
from candor.ids.graphs import medians
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import prepare
from candor.ids.graphs.tally import Tally, add_capture, measure

SPANS = [(0, 700), (900, 901), (1500, 3600)]


def mixed(n: int = 4000, *, ids: int = 40) -> FrameArrays:
    """Frames of every kind, of which some come at one time and some step back."""
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.choice([0.0, 1e-7, 1e-3, 2e-3], n)) + rng.choice([0.0, -1e-5], n, p=[0.9, 0.1])
    flags = rng.choice([0, EXTENDED, REMOTE, ERROR], n, p=[0.7, 0.2, 0.05, 0.05])
    return frames(
        t,
        rng.integers(0, ids, n) ** 2,
        data=rng.integers(0, 256, (n, 8)),
        dlc=rng.choice([0, 1, 3, 8, 8, 12, 64], n),
        flags=flags,
    )


def stored(folder: Path, f: FrameArrays, rows: int) -> FrameFile:
    table(f).write_parquet(folder / "c.parquet", row_group_size=rows)
    return FrameFile(folder / "c.parquet")


def tallied(capture: FrameFile | FrameArray, spans: list[tuple[int, int]] | None = None) -> Profile:
    with Tally() as tally:
        add_capture(tally, capture, spans)
        return tally.profile(kind="attack_free", vehicle="v", source=["c"])


@pytest.mark.parametrize("rows", [37, 500, 5000])
@pytest.mark.parametrize("held", [1, 50, 1 << 18])
def test_the_profile_is_that_of_all_frames_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, held: int
) -> None:
    monkeypatch.setattr(medians, "HELD_VALUES", held)
    monkeypatch.setattr(medians, "_SPOOLED", 1000)
    capture = stored(tmp_path, mixed(), rows)
    f = Frames.arrays(capture.path)
    whole = {"kind": "attack_free", "vehicle": "v", "source": ["c"]}
    assert_same(tallied(capture), naive_profile([prepare(f)], **whole))
    pieces = [prepare(f, a, b) for a, b in SPANS]
    assert_same(tallied(capture, SPANS), naive_profile(pieces, **whole))


def test_pieces_of_several_captures_are_pooled() -> None:
    captures = [bus(3.0, num_ids=9), bus(2.0, seed=1, offset=4), flood(bus(1.0), 0.2, 0.4), frames([], [])]
    with Tally() as tally:
        for f in captures:
            add_capture(tally, FrameArray(f))
        found = tally.profile(kind="stream", vehicle="v", source=["a", "b"], set_aside_s=0.5)
    pieces = [prepare(f) for f in captures]
    as_said = {"kind": "stream", "vehicle": "v", "source": ["a", "b"], "set_aside_s": 0.5}
    assert_same(found, naive_profile(pieces, **as_said))
    assert_same(measure(pieces, **as_said), naive_profile(pieces, **as_said))


def test_there_is_room_for_any_number_of_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medians, "HELD_VALUES", 10)
    rng = np.random.default_rng(1)
    n = 30_000
    f = frames(np.cumsum(rng.exponential(1e-3, n)), rng.integers(0, 5000, n), flags=EXTENDED)
    assert_same(
        tallied(FrameArray(f)), naive_profile([prepare(f)], kind="attack_free", vehicle="v", source=["c"])
    )


def test_no_traffic_has_a_profile() -> None:
    with Tally() as tally:
        found = tally.profile(kind="stream", vehicle="v", source=[])
    assert_same(found, naive_profile([], kind="stream", vehicle="v", source=[]))


_PEAK = """
import json, sys
from pathlib import Path
from candor.flow.process import peak_memory_bytes, reset_peak_memory
from candor.ids.captures.frame_file import FrameFile
from candor.ids.graphs.tally import Tally, add_capture

def profile(path):
    with Tally(path.parent / "scratch") as tally:
        add_capture(tally, FrameFile(path))
        return tally.profile(kind="attack_free", vehicle="v", source=["c"])

profile(Path(sys.argv[1]))  # Loads what is loaded once.
reset_peak_memory()
before = peak_memory_bytes()
found = profile(Path(sys.argv[2]))
print(json.dumps([found.frames, (peak_memory_bytes() - before) / 1e6]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_an_attack_free_capture(tmp_path: Path) -> None:
    stretch = table(bus(60.0, num_ids=12)).cast({"id": pl.UInt32})
    used = []
    for name, times in (("short", 10), ("long", 200)):
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", stretch.to_arrow().schema) as writer:
            for i in range(times):
                part = stretch.with_columns(timestamp=pl.col("timestamp") + 60.001 * i)
                writer.write_table(part.to_arrow())
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(tmp_path / "short.parquet"), str(tmp_path / f"{name}.parquet")],
            env={**os.environ, "POLARS_MAX_THREADS": "2"},
            capture_output=True,
            text=True,
            check=True,
        )
        used.append(json.loads(done.stdout))
    (few, little), (many, much) = used
    assert many == 20 * few > 5e6
    # Its intervals alone are 12 B a frame, the capture as arrays 25 B; what allocators hold back differs with the load.
    assert much - little < 8 * (many - few) / 1e6, (
        f"{little:.0f} MB for {few} frames, {much:.0f} MB for {many}"
    )
