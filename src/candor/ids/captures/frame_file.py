"""A published capture read a row group at a time: memory does not grow with the recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
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
from candor.ids.captures.row_groups import row_groups


class FrameFile:
    """Bus frames of one capture: what is not an error frame. Raises CaptureUnreadable or SchemaMismatch while reading.

    Attributes:
        num_errors: error frames, which are left out of everything else.
        attack_names: families that occur, sorted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_errors = 0
        names: set[str] = set()
        self._rows, self._t0 = 0, 0.0
        for part in row_groups(path, "frames", ["timestamp", "flags", "attack"]):
            self._t0 = float(part["timestamp"][0]) if not self._rows and part.height else self._t0
            self._rows += part.height
            self.num_errors += int(((part["flags"] & ERROR) != 0).sum())
            names.update(part["attack"].unique().to_list())
        self.attack_names = tuple(sorted(names - {""}))

    def __len__(self) -> int:
        return self._rows - self.num_errors

    def frames(self) -> Iterator[FrameArrays]:
        """Bus frames, some at a time, in order; times and attack codes are those of the whole capture."""
        for part in row_groups(self.path, "frames"):
            table = validate(part, place=self.path.name)
            yield without_errors(to_arrays(table, start_s=self._t0, attack_names=self.attack_names))

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
