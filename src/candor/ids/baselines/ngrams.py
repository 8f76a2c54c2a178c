"""Sequences of arbitration IDs: how surprising is the next ID after the n − 1 before it, on a benign bus (models/order.py).

Counted over benign training windows; a window's score is its mean surprise, -ln p.

Legend: G windows of W frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.errors import DataError
from candor.ids.captures.cursor import Cursor
from candor.ids.captures.frame_file import FrameFile
from candor.ids.graphs.vocabulary import id_key
from candor.ids.models.order import Order

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Windows whose frames are held at once.
_WINDOWS = 1 << 12


class NGrams:
    """Fitted on the benign windows of ``graphs/train``; ``frames``: folder of the captures' frames.

    Raises:
        DataError: the training split has no benign window, or too many IDs for contexts of this length.
    """

    def __init__(self, order: int, smoothing: float, graphs: Path, frames: Path) -> None:
        self._frames = frames
        folder = graphs / "train"
        benign = np.load(folder / "y.npy") == 0
        if not benign.any():
            raise DataError(
                "the training split has no benign window", hint="Sequences of IDs are counted in them."
            )
        # Twice over the frames: windows of a long training set are not held.
        keys = np.zeros(0, np.int64)
        for rows, ids in _windows(folder, frames):
            keys = np.union1d(keys, ids[benign[rows]])
        self._order = Order.empty(keys, order=order, smoothing=smoothing)
        for rows, ids in _windows(folder, frames):
            own = ids[benign[rows]]
            self._order = self._order.seen(own.ravel(), _since(own))
        sequences = len(self._order.counts[-1].pair)
        self.said = {"ids": len(self._order.key_P), "order": order, "sequences": sequences}

    def score(self, folder: Path) -> F64:
        """Mean surprise of the windows of a GraphStore folder, in its order: [G]."""
        found = np.zeros(len(np.load(folder / "y.npy")))
        for rows, ids in _windows(folder, self._frames):
            p = self._order.chances(ids.ravel(), _since(ids)).reshape(ids.shape)
            found[rows] = -np.log(p[:, 1:]).mean(axis=1)
        return found


def _since(ids_GW: I64) -> I64:
    """Every window is a sequence of its own: [G · W]."""
    return np.tile(np.arange(ids_GW.shape[1]), len(ids_GW))


def _windows(folder: Path, frames: Path) -> Iterator[tuple[I64, I64]]:
    """(rows of the store, ID keys [G, W] of their frames) of a GraphStore folder, some windows of a capture at a time."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    width, window = int(meta["window"]["window_frames"]), np.load(folder / "window.npy")
    for number, capture in enumerate(meta["captures"]):
        rows = np.flatnonzero(window["capture"] == number)
        start = window["start"][rows].astype(np.int64)
        # A capture's windows begin anew with each of its profiles.
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(start) < 0) + 1):
            keys = _keys(frames / f"{capture['capture']}.parquet")
            for at in range(0, len(run), _WINDOWS):
                block = run[at : at + _WINDOWS]
                first = int(start[block[0]])
                held = keys.rows(first, int(start[block[-1]]) + width)
                yield rows[block], held[start[block][:, None] - first + np.arange(width)].astype(np.int64)


def _keys(path: Path) -> Cursor[npt.NDArray[np.uint32]]:
    parts = (id_key(part.id, part.flags) for part in FrameFile(path).frames())
    return Cursor(parts, lambda part, rows: part[rows], np.concatenate)
