"""Frame dynamics: how surprising a frame is given what came before it, in its place as well as in its bytes. No labels.

By the chain rule a frame costs -log p(ID | IDs before) - log p(bytes | ID, its past). The second part is payload dynamics
(payload.py): three views of the same bytes, of which the mean counts. The first is judged as they are, in spreads of what
benign frames of the identifier cost:

    order  how unlikely the ID is after the two before it, as counted in the capture's own calibration seconds, and how unlikely
           what follows it: a frame out of its place breaks two transitions

Order is learned anew on every capture: control units start their clocks apart, so which of two unrelated IDs comes first is
another matter on every drive (on road_statgraph a frame costs 2.0 to 2.2 bits by the order of its own drive, 4.6 to 5.2 by that
of the other). What does hold from drive to drive is which IDs drift: those of one control unit keep their order, those of two
lose it within minutes, and some bytes change with the state of the car. Seconds of calibration cannot know. Where there are
benign training captures of the vehicle, what their frames cost by their own first seconds counts beside what the
calibration seconds cost by halves. On an unknown vehicle those seconds are all there is.

Legend: n frames, m frames of a piece, P identifiers, Q = 4 views (three of the payload, order), G windows, U IDs of a capture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.stream import Stream
from candor.ids.models import payload
from candor.ids.models.order import Order
from candor.ids.models.payload import Costs, Counts, Piece, WindowSurprise, rows_of
from candor.ids.models.payload_kernels import order_windows

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

VIEWS: Final = (*payload.VIEWS, "order")
_ORDER: Final = len(payload.VIEWS)
#: Added to the spread of an identifier, bits: of the payload views as in payload dynamics; of two neighbours that change places
#: one transition costs some 5.
_SLACK_BITS: Final = np.array([*[payload.SLACK_BITS] * _ORDER, 1.0])
#: An identifier with fewer frames tells nothing of what it costs on another drive.
_MIN_FRAMES: Final = 10


@dataclass(frozen=True)
class Expected:
    """What benign frames of identifiers cost: ``frames_P``; ``mean_PQ`` and ``variance_PQ`` in bits."""

    key_P: npt.NDArray[np.uint32]
    frames_P: I64
    mean_PQ: F64
    variance_PQ: F64


@dataclass(frozen=True)
class CostSums:
    """Frames, bits and squared bits by identifier, summed over captures: they grow with identifiers, not with frames."""

    key_P: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    frames_P: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    bits_PQ: F64 = field(default_factory=lambda: np.zeros((0, len(VIEWS))))
    squares_PQ: F64 = field(default_factory=lambda: np.zeros((0, len(VIEWS))))

    def plus(self, key_n: npt.NDArray[np.uint32], bits_nQ: F64) -> CostSums:
        """With the frames of one more capture; one that lacks a view (NaN) is left out."""
        whole = ~np.isnan(bits_nQ).any(axis=1)
        key_R, row_n = np.unique(key_n[whole], return_inverse=True)
        new = _sums(row_n, bits_nQ[whole], len(key_R))
        key_P, row_m = np.unique(np.concatenate([self.key_P, key_R]), return_inverse=True)
        frames, bits, squares = (
            _joined(old, more, row_m, len(key_P))
            for old, more in zip((self.frames_P, self.bits_PQ, self.squares_PQ), new, strict=True)
        )
        return CostSums(key_P.astype(np.uint32), frames, bits, squares)

    def expected(self) -> Expected:
        """Mean and variance of identifiers with enough frames to tell."""
        enough = self.frames_P >= _MIN_FRAMES
        mean, variance = _moments(self.frames_P, self.bits_PQ, self.squares_PQ)
        return Expected(self.key_P[enough], self.frames_P[enough], mean[enough], variance[enough])


@dataclass(frozen=True)
class FrameModel:
    """One vehicle as its calibration seconds and its earlier drives show it; ``mean_PQ``, ``spread_PQ``: bits that are expected.

    ``calibration_m``: positions of the calibration's frames; ``calibration_bits_m``: what they cost in order by what the other
    half of them counted, since ``order`` has counted them all.
    """

    bytes: payload.PayloadModel
    order: Order
    key_P: npt.NDArray[np.uint32]
    mean_PQ: F64
    spread_PQ: F64
    calibration_m: I64
    calibration_bits_m: F64

    def surprise(self, stream: Stream) -> F64:
        """Surprise of every frame of the capture in spreads of its identifier, by view, ``[n, Q]``; NaN where nothing is known.

        An identifier that calibration never saw has no expectation of its own: in order it gets the last row's, which is that
        of all together.
        """
        bits_nQ = _bits(Piece(stream, np.arange(len(stream))), self.bytes, self.order)
        bits_nQ[self.calibration_m, _ORDER] = self.calibration_bits_m
        row_n = rows_of(self.key_P, stream)[stream.code_n]
        z_nQ = (bits_nQ - self.mean_PQ[row_n]) / (self.spread_PQ[row_n] + _SLACK_BITS)
        clipped: F64 = np.clip(z_nQ, *payload.CLIP)
        return clipped


def later_costs(
    piece: Piece, *, calibration_s: float, order: int, smoothing: float
) -> tuple[npt.NDArray[np.uint32], F64]:
    """What benign frames cost behind the first ``calibration_s`` seconds of their piece, judged by these.

    Identifier and bits by view of each, ``[n]`` and ``[n, Q]``; none where there is nothing before or behind.
    """
    early, rest = piece.split(calibration_s)
    if not len(early.frames) or not len(rest.frames):
        return np.zeros(0, np.uint32), np.zeros((0, len(VIEWS)))
    bytes_ = payload.untempered(Counts.of([early]))
    bits_nQ = _bits(rest, bytes_, _order_of(early, order, smoothing))
    return piece.stream.key_U[piece.stream.code_n[rest.frames]], bits_nQ[rest.frames]


def fit(
    calibration: Piece,
    costs: Costs,
    *,
    order: int,
    smoothing: float,
    prior_frames: float,
    known: Expected | None = None,
    known_share: float = 0.5,
) -> FrameModel:
    """Learn one capture from its calibration seconds, beside what its vehicle is ``known`` to cost on other drives.

    Args:
        costs: what bytes cost by behaviour (payload dynamics).
        order: IDs of a sequence. smoothing: added to its counts.
        prior_frames: how many frames of an identifier the experience with others counts for.
        known_share: weight of ``known``, the rest is that of the calibration seconds.
    """
    stream = calibration.stream
    bytes_ = payload.fit([calibration], costs, prior_frames=prior_frames)
    own_bits_m = _by_halves(calibration, order, smoothing)
    key_P = np.unique(stream.key_U[stream.code_n[calibration.frames]]).astype(np.uint32)
    mean_PQ, variance_PQ = _own(calibration, key_P, bytes_, own_bits_m, prior_frames)
    if known is not None and len(known.key_P):
        mean_PQ, variance_PQ = _mixed(key_P, mean_PQ, variance_PQ, known, known_share)
    return FrameModel(
        bytes_,
        _order_of(calibration, order, smoothing),
        key_P,
        mean_PQ,
        np.sqrt(variance_PQ),
        calibration.frames,
        own_bits_m,
    )


def window_scores(stream: Stream, z_nQ: F64, start_G: I64, stop_G: I64) -> WindowSurprise:
    """Place and bytes together: the surprise in order, and the mean over the three views of the bytes, which look at the same.

    In each view it is the largest Σz / sqrt(frames + 1) of any identifier; in order Σz of its frames and of those right behind.
    Named are the identifier and the view that surprise most.
    """
    found = payload.window_scores(stream, np.ascontiguousarray(z_nQ[:, :_ORDER]), start_G, stop_G)
    weight_G, worst_G = np.zeros(len(start_G)), np.zeros(len(start_G), np.int64)
    order_n = np.ascontiguousarray(z_nQ[:, _ORDER])
    order_windows(start_G, stop_G, stream.code_n, order_n, len(stream.key_U), weight_G, worst_G)
    by_order = weight_G > found.most_G
    return WindowSurprise(
        found.score_G / _ORDER + np.where(worst_G >= 0, weight_G, 0.0),
        np.where(by_order, worst_G, found.worst_G),
        np.where(by_order, _ORDER, found.view_G),
        np.maximum(weight_G, found.most_G),
    )


def _order_of(piece: Piece, order: int, smoothing: float) -> Order:
    ids_m = piece.stream.key_U[piece.stream.code_n[piece.frames]]
    return Order.fit(ids_m, _since(piece), order=order, smoothing=smoothing)


def _since(piece: Piece) -> I64:
    """Frames of the piece before each of its frames, back to the last cut: [m]."""
    at = np.arange(len(piece.frames))
    cut = np.diff(piece.frames, prepend=-2) > 1
    since: I64 = at - np.maximum.accumulate(np.where(cut, at, 0))
    return since


def _order_bits(piece: Piece, model: Order) -> F64:
    """-log2 p of every frame of the piece, NaN where none stands before it: [m]."""
    since_m = _since(piece)
    ids_m = piece.stream.key_U[piece.stream.code_n[piece.frames]]
    return np.where(since_m > 0, -np.log2(model.chances(ids_m, since_m)), np.nan)


def _bits(piece: Piece, bytes_: payload.PayloadModel, order: Order) -> F64:
    """Bits of each frame of the capture by view; NaN outside the piece, and where there is nothing to compare with: [n, Q]."""
    order_n = np.full(len(piece.stream), np.nan)
    order_n[piece.frames] = _order_bits(piece, order)
    return np.column_stack([payload.bits_of(piece, bytes_), order_n])


def _by_halves(piece: Piece, order: int, smoothing: float) -> F64:
    """Order bits of the frames of each half, by what the other half counted: [m]."""
    found = np.full(len(piece.frames), np.nan)
    for which in (0, 1):
        own, other = piece.half(which), piece.half(1 - which)
        if len(own.frames) and len(other.frames):
            found[np.isin(piece.frames, own.frames)] = _order_bits(own, _order_of(other, order, smoothing))
    return found


def _own(
    piece: Piece,
    key_P: npt.NDArray[np.uint32],
    bytes_: payload.PayloadModel,
    order_bits_m: F64,
    prior_frames: float,
) -> tuple[F64, F64]:
    """Mean and variance of what frames cost by the calibration alone, ``[P + 1, Q]``; the last row: any other identifier.

    Order leans on what all identifiers together cost, bytes on what bytes of their behaviour do.
    """
    judged = ~np.isnan(order_bits_m)
    row_m = rows_of(key_P, piece.stream)[piece.stream.code_n[piece.frames]]
    values = order_bits_m[judged][:, None]
    all_mean, all_variance = (
        (float(values.mean()), float(values.var())) if len(values) else (0.0, payload.SLACK_BITS**2)
    )
    frames_P, bits, squares = _sums(row_m[judged], values, len(key_P))
    own_mean, own_variance = _moments(frames_P, bits, squares)
    share_P = frames_P / (frames_P + prior_frames)
    mean, variance = payload.blend(share_P, own_mean[:, 0], own_variance[:, 0], all_mean, all_variance)
    at = np.searchsorted(bytes_.key_P, key_P)
    mean_PQ = np.column_stack([bytes_.mean_PQ[at], mean])
    variance_PQ = np.column_stack([bytes_.spread_PQ[at] ** 2, variance])
    other = np.zeros((1, _ORDER))
    return (
        np.vstack([mean_PQ, np.column_stack([other, [all_mean]])]),
        np.vstack([variance_PQ, np.column_stack([other, [all_variance]])]),
    )


def _mixed(
    key_P: npt.NDArray[np.uint32], mean_PQ: F64, variance_PQ: F64, known: Expected, share: float
) -> tuple[F64, F64]:
    """The calibration's expectation and that of other drives, ``share`` of it, for identifiers that both know."""
    at = np.minimum(np.searchsorted(known.key_P, key_P), len(known.key_P) - 1)
    row = np.flatnonzero(known.key_P[at] == key_P)
    mean_PQ, variance_PQ = mean_PQ.copy(), variance_PQ.copy()
    mean_PQ[row], variance_PQ[row] = payload.blend(
        np.full((len(row), 1), 1 - share),
        mean_PQ[row],
        variance_PQ[row],
        known.mean_PQ[at[row]],
        known.variance_PQ[at[row]],
    )
    return mean_PQ, variance_PQ


def _joined(old: npt.NDArray[Any], more: npt.NDArray[Any], row: I64, rows: int) -> npt.NDArray[Any]:
    """Sums by row of two tables, one below the other."""
    total = np.zeros((rows, *old.shape[1:]), old.dtype)
    np.add.at(total, row, np.concatenate([old, more]))
    return total


def _sums(row: npt.NDArray[np.integer], values: F64, rows: int) -> tuple[I64, F64, F64]:
    """Number, sum and sum of squares of the values of each row, ``[P]`` and ``[P, Q]``."""
    number = np.bincount(row, minlength=rows).astype(np.int64)
    sums = np.zeros((2, rows, values.shape[1]))
    for power in (1, 2):
        for q in range(values.shape[1]):
            sums[power - 1, :, q] = np.bincount(row, values[:, q] ** power, rows)
    return number, sums[0], sums[1]


def _moments(number: I64, first: F64, second: F64) -> tuple[F64, F64]:
    """Mean and variance of each row, ``[P, Q]``."""
    divisor = np.maximum(number, 1)[:, None]
    mean = first / divisor
    return mean, np.maximum(second / divisor - mean**2, 0)
