"""Published flows read a row group at a time: memory does not grow with the recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.cursor import Cursor
from candor.ids.captures.flows.schema import FlowArrays, joined, rows, to_arrays, validate
from candor.ids.captures.row_groups import row_groups


class FlowFile:
    """Flows of one capture. Raises CaptureUnreadable or SchemaMismatch while reading.

    Attributes:
        host_U: u64 host keys that occur, ascending. attack_names: families that occur, sorted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows, self._t0 = 0, 0.0
        names: set[str] = set()
        self.host_U: NDArray[np.uint64] = np.zeros(0, np.uint64)
        for part in row_groups(path, "flows", ["t_start", "src", "dst", "attack"]):
            self._t0 = float(part["t_start"][0]) if not self._rows and part.height else self._t0
            self._rows += part.height
            names.update(part["attack"].unique().to_list())
            self.host_U = np.unique(
                np.concatenate([self.host_U, part["src"].to_numpy(), part["dst"].to_numpy()])
            )
        self.attack_names = tuple(sorted(names - {""}))

    def __len__(self) -> int:
        return self._rows

    def cursor(self) -> Cursor[FlowArrays]:
        """The flows by their numbers."""
        return Cursor(self.flows(), rows, joined)

    def flows(self) -> Iterator[FlowArrays]:
        """All flows, some at a time; times and attack codes are those of the whole capture."""
        for part in row_groups(self.path, "flows"):
            table = validate(part, place=self.path.name)
            yield to_arrays(table, start_s=self._t0, attack_names=self.attack_names)

    def times(self) -> Iterator[NDArray[np.float64]]:
        """Times of flows, s since the capture's first."""
        for part in row_groups(self.path, "flows", ["t_start"]):
            yield part["t_start"].to_numpy() - self._t0


class FlowArray:
    """Flows in memory, read as a FlowFile is."""

    def __init__(self, flows: FlowArrays) -> None:
        self._flows = flows
        self.host_U: NDArray[np.uint64] = np.unique(np.concatenate([flows.src, flows.dst]))
        self.attack_names = tuple(flows.attack_names)

    def __len__(self) -> int:
        return len(self._flows)

    def cursor(self) -> Cursor[FlowArrays]:
        """The flows by their numbers."""
        return Cursor(iter([self._flows]), rows, joined)
