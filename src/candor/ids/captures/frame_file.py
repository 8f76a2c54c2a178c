"""A published capture read a row group at a time: memory does not grow with the recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.captures.cursor import Cursor
from candor.ids.captures.frames import (
    ERROR,
    FrameArrays,
    joined,
    rows,
    to_arrays,
    validate,
    without_errors,
)
from candor.ids.captures.row_groups import extremes, readable, row_groups


class FrameFile:
    """Bus frames of one capture: what is not an error frame. Raises CaptureUnreadable or SchemaMismatch while reading.

    Attributes:
        num_errors: error frames, which are left out of everything else.
        attack_names: families that occur, sorted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_errors, names = 0, {""}
        with readable(path, "frames"):
            table, known = pl.scan_parquet(path), extremes(path, ["flags", "attack"])
            self._rows = int(table.select(pl.len()).collect().item())
            first = table.select("timestamp").head(1).collect()["timestamp"]
        # Columns are read (10 ns a row each) where the footer's bounds leave anything to be found; by row groups, since
        # Polars' streaming engine holds what it has read ahead, 17 B a frame of the whole capture.
        if known["flags"] is None or known["flags"][1] >= ERROR:
            for part in row_groups(path, "frames", ["flags"]):
                self.num_errors += int(np.count_nonzero(part["flags"].to_numpy() & ERROR))
        if known["attack"] != ("", ""):
            for part in row_groups(path, "frames", ["attack"]):
                names.update(part["attack"].unique())
        self._t0 = float(first[0]) if len(first) else 0.0
        self.attack_names = tuple(sorted(names - {""}))

    def __len__(self) -> int:
        return self._rows - self.num_errors

    def frames(self) -> Iterator[FrameArrays]:
        """Bus frames, some at a time, in order; times and attack codes are those of the whole capture."""
        for part in row_groups(self.path, "frames"):
            table = validate(part, place=self.path.name)
            yield without_errors(to_arrays(table, start_s=self._t0, attack_names=self.attack_names))

    def held(self) -> FrameArray:
        """The capture in memory, to be read several times."""
        parts = list(self.frames())
        held = FrameArray(parts[0] if len(parts) == 1 else joined(parts))
        held.num_errors = self.num_errors
        return held

    def cursor(self) -> Cursor[FrameArrays]:
        """The frames by their numbers."""
        return Cursor(self.frames(), rows, joined)

    def times(self) -> Iterator[NDArray[np.float64]]:
        """Times of bus frames, s since the capture's first frame."""
        for part in row_groups(self.path, "frames", ["timestamp", "flags"]):
            yield part["timestamp"].to_numpy()[(part["flags"].to_numpy() & ERROR) == 0] - self._t0


class FrameArray:
    """A capture in memory, read as a FrameFile is."""

    def __init__(self, frames: FrameArrays) -> None:
        self._bus = without_errors(frames)
        self.num_errors = len(frames) - len(self._bus)
        self.attack_names = tuple(frames.attack_names)

    def __len__(self) -> int:
        return len(self._bus)

    def frames(self) -> Iterator[FrameArrays]:
        """All bus frames."""
        yield self._bus

    def cursor(self) -> Cursor[FrameArrays]:
        """The frames by their numbers."""
        return Cursor(self.frames(), rows, joined)

    def times(self) -> Iterator[NDArray[np.float64]]:
        """Times of bus frames, s since the capture's first frame."""
        yield self._bus.t
