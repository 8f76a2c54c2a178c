"""Sequences of arbitration IDs: how surprising is the next ID after the n − 1 before it, on a benign bus.

    p(next | n − 1 before) = (seen + s · p(next | n − 2 before)) / (seen in all + s),   p(next) = 1 / slots

counted over benign training windows: additive smoothing towards the next shorter context, which is what nested Dirichlet
priors come to (MacKay & Peto 1995). Of two IDs it is the bigram of the window's own graph, and the same numbers. One slot is
for all IDs that training never saw. A window's score is its mean surprise, -ln p.

Legend: G windows of W frames, k the length of a context.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.errors import DataError
from candor.ids.captures.frames import Frames
from candor.ids.graphs.stream import prepare

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Counts:
    """How often each context of one length, and each context with its next ID, was seen; keys ascend."""

    context: I64
    context_seen: I64
    pair: I64
    pair_seen: I64

    @classmethod
    def of(cls, context: I64, pair: I64) -> _Counts:
        return cls(*np.unique(context, return_counts=True), *np.unique(pair, return_counts=True))

    @staticmethod
    def look_up(keys: I64, seen: I64, asked: I64) -> F64:
        """Count of each key that is asked for, 0 where it was never seen."""
        if not len(keys):
            return np.zeros(len(asked))
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where(keys[at] == asked, seen[at], 0).astype(np.float64)


class NGrams:
    """Fitted on the benign windows of ``graphs/train``; ``frames``: folder of the captures' frames.

    Raises:
        DataError: the training split has no benign window, or too many IDs for contexts of this length.
    """

    def __init__(self, order: int, smoothing: float, graphs: Path, frames: Path) -> None:
        self._frames, self._order = frames, order
        folder = graphs / "train"
        benign = np.load(folder / "y.npy") == 0
        parts = [ids[benign[rows]] for rows, ids in _windows(folder, frames) if benign[rows].any()]
        if not parts:
            raise DataError(
                "the training split has no benign window", hint="Sequences of IDs are counted in them."
            )
        self._keys = np.unique(np.concatenate([part.ravel() for part in parts]))
        self._slots = len(self._keys) + 1
        # Contexts are whole numbers to the base of the slots, and must fit into 63 bits.
        if order * np.log2(self._slots) >= 63:
            raise DataError(
                f"{len(self._keys)} IDs are too many for sequences of {order}",
                hint="Lower baselines.ngram_order.",
            )
        self._weight = smoothing * self._slots
        codes = [self._codes(part) for part in parts]
        self._counts = [self._count(codes, k) for k in range(1, order)]
        self.said = {"ids": len(self._keys), "order": order, "sequences": len(self._counts[-1].pair)}

    def score(self, folder: Path) -> F64:
        """Mean surprise of the windows of a GraphStore folder, in its order: [G]."""
        found = np.zeros(len(np.load(folder / "y.npy")))
        for rows, ids in _windows(folder, self._frames):
            codes = self._codes(ids)
            p = np.full((len(codes), codes.shape[1] - 1), 1.0 / self._slots)
            for k, counts in enumerate(self._counts, 1):
                # The first frames of a window have shorter contexts, and keep what those say.
                context, pair = self._keys_of(codes, k)
                seen = counts.look_up(counts.pair, counts.pair_seen, pair)
                whole = counts.look_up(counts.context, counts.context_seen, context)
                longer = p[:, k - 1 :].ravel()
                p[:, k - 1 :] = ((seen + self._weight * longer) / (whole + self._weight)).reshape(
                    len(codes), -1
                )
            found[rows] = -np.log(p).mean(axis=1)
        return found

    def _count(self, parts: list[I64], k: int) -> _Counts:
        keys = [self._keys_of(codes, k) for codes in parts]
        return _Counts.of(np.concatenate([c for c, _ in keys]), np.concatenate([p for _, p in keys]))

    def _keys_of(self, codes_GW: I64, k: int) -> tuple[I64, I64]:
        """Contexts of ``k`` IDs, and the same with the next ID, of every place that has as many before it."""
        width = codes_GW.shape[1]
        context = np.zeros((len(codes_GW), width - k), np.int64)
        for back in range(k, 0, -1):
            context = context * self._slots + codes_GW[:, k - back : width - back]
        pair = context * self._slots + codes_GW[:, k:]
        return context.ravel(), pair.ravel()

    def _codes(self, ids: I64) -> I64:
        """Slot of every ID; the last is for IDs that training never saw."""
        at = np.minimum(np.searchsorted(self._keys, ids), len(self._keys) - 1)
        return np.where(self._keys[at] == ids, at, len(self._keys))


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
