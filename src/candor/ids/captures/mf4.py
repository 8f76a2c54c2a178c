"""ASAM MF4 bus logging (CANedge and others): CAN_DataFrame, CAN_RemoteFrame and CAN_ErrorFrame.

asammdf follows a damaged file's offsets and counts wherever they lead, a crash of its compiled parts included (found by
fuzzing), so it runs in a process of its own (mf4_reader.py), whose end, however sudden, is an error like any other.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import polars as pl
import pyarrow as pa

from candor.errors import CaptureUnreadable, ExtraMissing
from candor.ids.captures import mf4_reader
from candor.ids.captures.format import Format
from candor.ids.captures.rows import RawRows

NAME: Final = "mf4"

#: A damaged file can send asammdf in circles; a sound one is read at over 10 MB/s.
_PATIENCE_S, _PATIENCE_S_PER_MB = 60.0, 1.0


def is_mf4(start: bytes) -> bool:
    """Whether the first bytes are those of a measurement file, finished or not."""
    return start.startswith((b"MDF     4", b"UnFinMF 4"))


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows; the line of a frame is its number. Raises CaptureUnreadable, ExtraMissing."""
    if importlib.util.find_spec("asammdf") is None:
        raise ExtraMissing("reading MF4 needs asammdf", place=place, hint="pip install 'candor[importers]'")
    with tempfile.TemporaryDirectory(prefix="candor-mf4-") as folder:
        # A copy, because finishing an unfinished file writes to it, and a raw capture is never written to.
        raw, frames = Path(folder, "raw.mf4"), Path(folder, "frames.arrow")
        with raw.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        _convert(raw, frames, place)
        done = 0
        with pa.OSFile(str(frames)) as file, pa.ipc.open_stream(file) as batches:
            for batch in batches:
                table = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
                yield RawRows(_rows(table, done), None)
                done += table.height


def _convert(raw: Path, frames: Path, place: str) -> None:
    patience_s = _PATIENCE_S + _PATIENCE_S_PER_MB * raw.stat().st_size / 1e6
    command = [sys.executable, "-P", mf4_reader.__file__, str(raw), str(frames)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired as e:
        raise _unreadable(f"asammdf did not finish in {patience_s:.0f} s", place) from e
    if done.returncode < 0:
        raise _unreadable(f"asammdf crashed on it (signal {-done.returncode})", place)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise _unreadable(said[-1].strip()[:200] if said else f"asammdf ended with {done.returncode}", place)


def _unreadable(why: str, place: str) -> CaptureUnreadable:
    return CaptureUnreadable(f"MF4 cannot be read: {why}", place=place, hint="Fetch the file again.")


def _rows(table: pl.DataFrame, done: int) -> pl.DataFrame:
    flags = ("extended", "remote", "error", "fd", "brs", "esi")
    return table.select(
        line=pl.int_range(done + 1, done + 1 + pl.len()),
        broken=pl.lit(False),
        t="t",
        id="id",
        data=pl.col("data").bin.encode("hex"),
        # Fewer bytes than the length says are damage.
        dlc=pl.when("remote").then(pl.min_horizontal("dlc", pl.lit(8))).otherwise("size").cast(pl.String),
        channel=pl.col("channel").cast(pl.String),
        **{flag: pl.col(flag) for flag in flags},
    )


FORMAT: Final = Format(NAME, "ASAM MF4 (CANedge)", ".mf4", blocks=blocks, is_binary=is_mf4)
