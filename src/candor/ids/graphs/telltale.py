"""Where in a capture its attacks show: the IDs that carry them, and the byte of each that tells them best.

What a shortcut's AUROC says of a whole capture, by ID and byte; a DBC then says which signal that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.shortcuts import keyed_scores
from candor.ids.graphs.vocabulary import id_key
from candor.learn.metrics import ranking_metrics

#: IDs listed of a capture: fuzzing attacks two thousand.
_SHOWN: Final = 5


@dataclass(frozen=True)
class Telltale:
    """One ID with attack frames.

    Attributes:
        id: key of the ID (bit 29 set for a 29-bit one). byte: the byte whose value tells attacks best, None where the
            ID has attack frames only. auroc: of that byte alone, over the frames of this ID.
    """

    capture: str
    id: int
    attack_frames: int
    benign_frames: int
    byte: int | None
    auroc: float | None


def telltales(capture: str, frames: FrameArrays) -> list[Telltale]:
    """The IDs with most attack frames of a capture."""
    key_n = id_key(frames.id, frames.flags)
    ids, counts = np.unique(key_n[frames.y == 1], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_SHOWN]
    return [_telltale(capture, frames, key_n == ids[i], int(ids[i])) for i in most]


def _telltale(capture: str, frames: FrameArrays, own: np.ndarray, key: int) -> Telltale:
    y, data, length = frames.y[own], frames.data[own], int(frames.dlc[own].max())
    attacks, benign = int((y == 1).sum()), int((y == 0).sum())
    if not benign:
        return Telltale(capture, key, attacks, 0, None, None)
    aurocs = [
        float(ranking_metrics(y, keyed_scores(np.ascontiguousarray(data[:, b]), y))["auroc"].item())
        for b in range(min(length, data.shape[1]))
    ]
    if not aurocs:
        return Telltale(capture, key, attacks, benign, None, None)
    best = int(np.argmax(aurocs))
    return Telltale(capture, key, attacks, benign, best, aurocs[best])
