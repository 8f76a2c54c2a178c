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
from candor.ids.captures.frames import Frames
from candor.ids.graphs.stream import prepare
from candor.ids.models.order import Order

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class NGrams:
    """Fitted on the benign windows of ``graphs/train``; ``frames``: folder of the captures' frames.

    Raises:
        DataError: the training split has no benign window, or too many IDs for contexts of this length.
    """

    def __init__(self, order: int, smoothing: float, graphs: Path, frames: Path) -> None:
        self._frames = frames
        folder = graphs / "train"
        benign = np.load(folder / "y.npy") == 0
        parts = [ids[benign[rows]] for rows, ids in _windows(folder, frames) if benign[rows].any()]
        if not parts:
            raise DataError(
                "the training split has no benign window", hint="Sequences of IDs are counted in them."
            )
        ids = np.concatenate([part.ravel() for part in parts])
        self._order = Order.fit(
            ids, np.concatenate([_since(part) for part in parts]), order=order, smoothing=smoothing
        )
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
    """(rows of the store, ID keys [G, W] of their frames) of every capture of a GraphStore folder."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    width, window = int(meta["window"]["window_frames"]), np.load(folder / "window.npy")
    for number, capture in enumerate(meta["captures"]):
        rows = np.flatnonzero(window["capture"] == number)
        if len(rows):
            stream = prepare(Frames.arrays(frames / f"{capture['capture']}.parquet"))
            at = window["start"][rows].astype(np.int64)[:, None] + np.arange(width)
            yield rows, stream.key_U[stream.code_n[at]].astype(np.int64)
