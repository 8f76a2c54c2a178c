"""Calibration seconds in which an attack has begun already: what of them looks unlike the rest is set aside.

No label is read. The one thing used is that injected frames come on top of the bus's own: the seconds with the fewest
frames are the most trustworthy. Two passes:

    seconds  chunks with clearly more frames than the calmer ones are dropped, and with them the IDs that only they had
    IDs      in the chunks that are left, those in which one ID comes clearly more often than in its calmer ones do not
             count for that ID's intervals and payload changes

An attack that fills (almost) all of the calibration seconds looks like traffic, and cannot be told this way; neither can
one that only replaces frames.

Legend: n frames, K chunks, U distinct IDs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.stream import Stream, prepare

#: Chunks that the calibration seconds are cut into.
CHUNKS = 20
#: The calmer chunks: this quantile of their counts is what others are compared with. A fifth of the time must be clean.
_CALM = 0.2
#: A bus's load varies by a few percent from second to second; flooding, fuzzing and systematic attacks at least double it.
_BUSY_BUS, _BUSY_ID = 1.25, 1.6
#: Standard deviations of a Poisson count granted on top: few frames vary by chance.
_CHANCE = 4.0


@dataclass(frozen=True)
class Quiet:
    """Pieces of the calibration seconds that are left, contiguous each, and how much was set aside."""

    pieces: list[Stream]
    set_aside_s: float


def quiet(frames: FrameArrays, start: Stream) -> Quiet:
    """What of ``start``, the first bus frames of ``frames``, may be measured; all of it, untouched, if nothing stands out."""
    n = len(start)
    if n < 2 * CHUNKS or start.t_n[-1] <= start.t_n[0]:
        return Quiet([start], 0.0)
    length_s = float(start.t_n[-1] - start.t_n[0])
    # Loggers step back by microseconds; a chunk is a run of rows.
    t = np.maximum.accumulate(start.t_n) - start.t_n[0]
    chunk_n = np.minimum((t / length_s * CHUNKS).astype(np.int64), CHUNKS - 1)
    count_K = np.bincount(chunk_n, minlength=CHUNKS)
    busy_K = count_K > _limit(count_K[None, :], _BUSY_BUS)[0]
    # An attack begins and ends inside a chunk: its neighbours may hold a few of its frames.
    wide_K = busy_K | np.append(busy_K[1:], False) | np.append(False, busy_K[:-1])
    busy_K = wide_K if not wide_K.all() else busy_K
    runs = _runs(~busy_K, chunk_n)
    pieces = [start] if not busy_K.any() else [prepare(frames, a, b) for a, b in runs]
    pieces = _without_bursts(pieces, [chunk_n[a:b] for a, b in runs] if busy_K.any() else [chunk_n], ~busy_K)
    return Quiet(pieces, float(busy_K.sum()) / CHUNKS * length_s)


def _limit(count_UK: npt.NDArray[np.int64], busy: float) -> npt.NDArray[np.float64]:
    """Counts above this stand out: [U, 1]."""
    calm_U1 = np.quantile(count_UK, _CALM, axis=1, method="lower", keepdims=True).astype(np.float64)
    return calm_U1 * busy + _CHANCE * np.sqrt(calm_U1 + 1)


def _runs(kept_K: npt.NDArray[np.bool_], chunk_n: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Frame ranges of the runs of kept chunks that hold a frame."""
    kept_n = kept_K[chunk_n]
    edge = np.flatnonzero(np.diff(np.concatenate([[False], kept_n, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edge[::2], edge[1::2], strict=True)]


def _without_bursts(
    pieces: list[Stream], chunks: list[npt.NDArray[np.int64]], kept_K: npt.NDArray[np.bool_]
) -> list[Stream]:
    """The pieces; where an ID comes in bursts, its frames there have no interval and no payload change.

    An ID that is absent from the calmer chunks sends by event, and is left alone.
    """
    key_U = np.unique(np.concatenate([p.key_U for p in pieces])) if pieces else np.zeros(0, np.uint32)
    row = [np.searchsorted(key_U, p.key_U)[p.code_n] for p in pieces]
    count_UK = np.zeros((len(key_U), CHUNKS), np.int64)
    for code_n, chunk_n in zip(row, chunks, strict=True):
        np.add.at(count_UK, (code_n, chunk_n), 1)
    count_UK = count_UK[:, kept_K]
    if not count_UK.size:
        return pieces
    limit_U1 = _limit(count_UK, _BUSY_ID)
    by_event_U1 = np.quantile(count_UK, _CALM, axis=1, method="lower", keepdims=True) == 0
    burst_UK = np.zeros((len(key_U), CHUNKS), bool)
    burst_UK[:, kept_K] = (count_UK > limit_U1) & ~by_event_U1
    if not burst_UK.any():
        return pieces
    found = []
    for piece, code_n, chunk_n in zip(pieces, row, chunks, strict=True):
        out_n = burst_UK[code_n, chunk_n]
        found.append(
            replace(
                piece,
                dt_n=np.where(out_n, np.nan, piece.dt_n),
                change_n=np.where(out_n, np.nan, piece.change_n),
            )
        )
    return found
