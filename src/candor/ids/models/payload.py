"""Payload dynamics: how surprising a frame's bytes are, given what its identifier sent before. No labels, no gradient.

Three views of every byte of every identifier, each a distribution counted from benign frames, each judged by itself:

    value      which values it takes
    step       how far it steps from the value before, by the level (sixteenth of the range) it leaves; where a level is
               new, by its steps at any level (prediction by partial matching, Cleary & Witten 1984)
    agreement  how far it lies from another byte of the same frame (two wheel speeds, a signal and its copy)

A mixture would let any one view explain a byte away: a frozen sensor takes no steps, like the parked car's. A frame costs
bits in each view; what is judged is that cost against what the identifier's benign frames cost, in spreads. Costs come
from blocks judged by each other's counts, never by their own, so that a drifting byte (a temperature) is known to drift.
Where little was seen, as on an unknown vehicle after seconds, they lean on what bytes that behave alike cost on the
training vehicles when as little was known of them.

A masquerade keeps the timing but not the dynamics: that is what this sees.

Legend: n frames, P identifiers, B = 8 bytes, L = 16 levels, V = 256 values, Q = 3 views, C = 5 behaviours, G windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.stream import Stream
from candor.ids.models import payload_kernels as kernels

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

BEHAVIOURS = ("constant", "counter", "state", "sensor", "noise")
VIEWS = ("value", "step", "agreement")
# The four constants below were chosen on the training capture of road_statgraph without its attacked ID, by masquerades
# simulated on its other IDs (forged extremes, noise, frozen, shifted and replayed payloads). No test capture was opened.

#: Added to the spread of an identifier, bits: one byte that takes a new value costs some 15, a forged payload some 100.
SLACK_BITS = 10.0
#: A frame counts for at most so many spreads either way: one odd frame is no attack.
CLIP = (-2.0, 30.0)
#: Blocks of a capture that judge each other in turns. With two, what drifts from one half to the other is trusted less.
_BLOCKS = 2
#: Another byte of the frame is worth looking at from this many bits saved: checksums agree by chance.
_PEER_GAIN_BITS = 1.0
#: What a byte's cost is taken for where no training vehicle showed its behaviour: mean and spread, bits.
_UNKNOWN_COST = (1.0, 2.0)


@dataclass(frozen=True)
class Piece:
    """Frames of one capture to learn from or to judge: their positions, ascending. A gap between them is a cut."""

    stream: Stream
    frames: I64

    def fresh(self) -> npt.NDArray[np.bool_]:
        """Frames behind a cut."""
        marks = np.zeros(len(self.stream), bool)
        marks[self.frames[np.flatnonzero(np.diff(self.frames, prepend=-2) > 1)]] = True
        return marks

    def half(self, which: int) -> Piece:
        """The even or the odd of ``_BLOCKS`` contiguous blocks."""
        block = np.arange(len(self.frames)) * _BLOCKS // max(len(self.frames), 1)
        return replace(self, frames=self.frames[block % 2 == which])

    def split(self, seconds: float) -> tuple[Piece, Piece]:
        """The first ``seconds`` of the piece, and the rest."""
        t = self.stream.t_n[self.frames]
        early = np.zeros(0, bool) if not len(t) else t - t[0] < seconds
        return replace(self, frames=self.frames[early]), replace(self, frames=self.frames[~early])


@dataclass(frozen=True)
class Counts:
    """What benign frames did: values, steps by the level they leave, differences between bytes of a frame."""

    key_P: npt.NDArray[np.uint32]
    values_PBV: I32
    steps_PBLV: I32
    pairs_PBBV: I32

    @classmethod
    def empty(cls, key_P: npt.NDArray[np.uint32]) -> Counts:
        """Nothing seen of these identifiers."""
        shape = (len(key_P), 8)
        tables = ((*shape, 256), (*shape, kernels.LEVELS, 256), (*shape, 8, 256))
        return cls(key_P, *(np.zeros(s, np.int32) for s in tables))

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Counts:
        """Count the frames of all pieces."""
        used = [p.stream.key_U[np.unique(p.stream.code_n[p.frames])] for p in pieces if len(p.frames)]
        out = cls.empty(np.unique(np.concatenate(used)) if used else np.zeros(0, np.uint32))
        for p in pieces:
            s = p.stream
            kernels.count(
                *(p.frames, rows_of(out.key_P, s), s.code_n, s.data_n8, s.size_n, s.has_data_n, p.fresh()),
                *(out.values_PBV, out.steps_PBLV, out.pairs_PBBV),
            )
        return out

    def plus(self, other: Counts | None) -> Counts:
        """Both together."""
        if other is None:
            return self
        out = Counts.empty(np.union1d(self.key_P, other.key_P).astype(np.uint32))
        for part in (self, other):
            at = np.searchsorted(out.key_P, part.key_P)
            out.values_PBV[at] += part.values_PBV
            out.steps_PBLV[at] += part.steps_PBLV
            out.pairs_PBBV[at] += part.pairs_PBBV
        return out


@dataclass(frozen=True)
class Costs:
    """Bits that a benign byte costs by behaviour and view, when it is known from as much as a calibration shows.

    ``mean_CQ``, ``variance_CQ``.
    """

    mean_CQ: F64
    variance_CQ: F64


@dataclass(frozen=True)
class PayloadModel:
    """The dynamics of one vehicle, ready to judge.

    Attributes:
        key_P: identifiers, ascending.
        value_bits_PBV, step_bits_PBLV, pair_bits_PBV: costs of what a byte does. peer_PB: byte compared with, −1 none.
        behaviour_PB: index into BEHAVIOURS.
        mean_PQ, spread_PQ: bits that a benign frame of the identifier costs.
    """

    key_P: npt.NDArray[np.uint32]
    value_bits_PBV: F32
    step_bits_PBLV: F32
    pair_bits_PBV: F32
    peer_PB: I64
    behaviour_PB: I64
    mean_PQ: F64
    spread_PQ: F64

    def surprise(self, piece: Piece) -> F64:
        """Surprise of every frame in spreads of its identifier, by view, ``[n, Q]``; NaN where nothing is known."""
        bits_nQ, _ = _bits(piece, self)
        row_n = rows_of(self.key_P, piece.stream)[piece.stream.code_n]
        if not len(self.key_P):  # Nothing calibrated: every row is NaN already.
            return bits_nQ
        z_nQ = (bits_nQ - self.mean_PQ[row_n]) / (self.spread_PQ[row_n] + SLACK_BITS)
        return np.clip(z_nQ, *CLIP)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All tables by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def rows_of(key_P: npt.NDArray[np.uint32], stream: Stream) -> I64:
    """Row of each identifier of the capture, −1 for one that is not known; ``[U]``."""
    if not len(key_P):
        return np.full(len(stream.key_U), -1, np.int64)
    row = np.minimum(np.searchsorted(key_P, stream.key_U), len(key_P) - 1)
    return np.where(key_P[row] == stream.key_U, row, -1).astype(np.int64)


def learn_costs(pieces: Iterable[Piece], calibration_s: float) -> Costs:
    """What bytes cost by behaviour: the first ``calibration_s`` seconds of each piece judge the rest of it."""
    sums = np.zeros((len(BEHAVIOURS), kernels.VIEWS, 3))
    for piece in pieces:
        early, rest = piece.split(calibration_s)
        if not len(early.frames) or not len(rest.frames):
            continue
        model = untempered(Counts.of([early]))
        _, found_PBQ3 = _bits(rest, model)
        np.add.at(sums, model.behaviour_PB.ravel(), found_PBQ3.reshape(-1, kernels.VIEWS, 3))
    number = sums[..., 0]
    mean = sums[..., 1] / np.maximum(number, 1)
    variance = sums[..., 2] / np.maximum(number, 1) - mean**2
    known = number > 0
    return Costs(
        np.where(known, mean, _UNKNOWN_COST[0]),
        np.where(known, np.maximum(variance, 0), _UNKNOWN_COST[1] ** 2),
    )


def fit(
    pieces: Sequence[Piece], costs: Costs, *, prior_frames: float, known: Counts | None = None
) -> PayloadModel:
    """Learn the dynamics of one vehicle from benign pieces, on top of what is ``known`` of it.

    ``prior_frames``: how many frames of an identifier the costs of its bytes' behaviours count for.
    """
    counts = Counts.of(pieces).plus(known)
    model = untempered(counts)
    sums = np.zeros((len(counts.key_P), kernels.VIEWS, 3))
    for which in (0, 1):
        half = untempered(Counts.of([p.half(which) for p in pieces]).plus(known))
        for piece in pieces:
            other = piece.half(1 - which)
            bits_nQ = _bits(other, half)[0][other.frames]
            row_n = rows_of(counts.key_P, piece.stream)[piece.stream.code_n[other.frames]]
            judged = (row_n >= 0) & ~np.isnan(bits_nQ[:, 0])
            powers = np.stack([np.ones_like(bits_nQ), bits_nQ, bits_nQ**2], axis=-1)
            np.add.at(sums, row_n[judged], powers[judged])
    number = sums[..., 0]
    mean = sums[..., 1] / np.maximum(number, 1)
    variance = np.maximum(sums[..., 2] / np.maximum(number, 1) - mean**2, 0)
    present_PB = counts.values_PBV.sum(-1) > 0
    prior_mean = (costs.mean_CQ[model.behaviour_PB] * present_PB[..., None]).sum(1)
    prior_variance = (costs.variance_CQ[model.behaviour_PB] * present_PB[..., None]).sum(1)
    share = number / (number + prior_frames)
    mean, variance = blend(share, mean, variance, prior_mean, prior_variance)
    return replace(model, mean_PQ=mean, spread_PQ=np.sqrt(variance))


def blend(
    share: F64, mean: F64, variance: F64, other_mean: F64 | float, other_variance: F64 | float
) -> tuple[F64, F64]:
    """Mean and variance of a mixture, ``share`` of it the first; law of total variance, or two that differ would look certain."""
    apart = share * (1 - share) * (mean - other_mean) ** 2
    return share * mean + (1 - share) * other_mean, share * variance + (1 - share) * other_variance + apart


@dataclass(frozen=True)
class WindowSurprise:
    """Per window: score; the identifier (index into ``stream.key_U``) and the view that weigh most in it, −1 none; ``[G]``.

    ``most_G``: how much those weigh, −inf where nothing is judged.
    """

    score_G: F64
    worst_G: I64
    view_G: I64
    most_G: F64


def window_scores(stream: Stream, z_nQ: F64, start_G: I64, stop_G: I64) -> WindowSurprise:
    """Sum over views of the largest Σz / sqrt(frames + 1) of any identifier. ``z_nQ``: surprise of all frames."""
    windows = len(start_G)
    nobody = np.full(windows, -1, np.int64)
    out = WindowSurprise(np.zeros(windows), nobody, nobody.copy(), np.full(windows, -np.inf))
    ids = len(stream.key_U)
    kernels.windows(
        start_G, stop_G, stream.code_n, z_nQ, ids, out.score_G, out.worst_G, out.view_G, out.most_G
    )
    return out


def behaviours(counts: Counts) -> I64:
    """What each byte does, index into BEHAVIOURS, ``[P, B]``: told from its values and steps alone.

    constant: one value. counter: one step, not 0, most of the time. state: few values, mostly held. noise: steps spread
    over the whole range, as of a checksum. sensor: the rest.
    """
    steps = counts.steps_PBLV.sum(2)
    total = np.maximum(steps.sum(-1), 1)
    held = steps[..., 0] / total
    distinct = (counts.values_PBV > 0).sum(-1)
    near = (steps[..., :32].sum(-1) + steps[..., 225:].sum(-1)) / total
    steady = steps[..., 1:].max(-1) / total
    out = np.full(distinct.shape, BEHAVIOURS.index("sensor"))
    out[near < 0.5] = BEHAVIOURS.index("noise")
    out[(distinct <= 16) & (held > 0.5)] = BEHAVIOURS.index("state")
    out[steady > 0.6] = BEHAVIOURS.index("counter")
    out[distinct <= 1] = BEHAVIOURS.index("constant")
    return out.astype(np.int64)


def bits_of(piece: Piece, model: PayloadModel) -> F64:
    """Bits of each frame of the capture by view, ``[n, Q]``; NaN outside the piece, and where there is nothing to compare with."""
    return _bits(piece, model)[0]


def _bits(piece: Piece, model: PayloadModel) -> tuple[F64, F64]:
    """Bits of each frame of the capture by view (NaN outside the piece), and sums per byte, ``[P, B, Q, 3]``."""
    bits = np.full((len(piece.stream), kernels.VIEWS), np.nan)
    sums = np.zeros((len(model.key_P), 8, kernels.VIEWS, 3))
    s, rows = piece.stream, rows_of(model.key_P, piece.stream)
    kernels.surprise(
        *(piece.frames, rows, s.code_n, s.data_n8, s.size_n, s.has_data_n, piece.fresh()),
        *(model.value_bits_PBV, model.step_bits_PBLV, model.pair_bits_PBV, model.peer_PB, bits, sums),
    )
    return bits, sums


def untempered(counts: Counts) -> PayloadModel:
    """Bits from counts; what benign frames of an identifier cost is not known yet."""
    peer, difference = _peers(counts)
    any_step = _chances(counts.steps_PBLV.sum(2))
    shape = (len(counts.key_P), kernels.VIEWS)
    return PayloadModel(
        counts.key_P,
        -np.log2(_chances(counts.values_PBV)),
        -np.log2(_chances(counts.steps_PBLV, any_step[:, :, None])),
        -np.log2(_chances(difference)),
        peer,
        behaviours(counts),
        np.zeros(shape),
        np.ones(shape),
    )


def _chances(number: I32, otherwise: F32 | None = None) -> F32:
    """Chances over the last axis (Witten & Bell 1991): the unseen gets as much as there are different things seen.

    ``otherwise`` shares out what the unseen gets; without it all values alike do. Counts spread to their neighbours a
    little, since a sensor that showed 89 and 91 will show 90; not where a byte takes few values.
    """
    seen = (number > 0).sum(-1, keepdims=True).astype(np.float32)
    total = number.sum(-1, keepdims=True).astype(np.float32)
    near = np.zeros(number.shape, np.float32)
    for k in (-2, -1, 1, 2):
        near += np.roll(number, k, axis=-1)
    share = np.where(seen > 4, np.float32(0.05), np.float32(0.0))
    smooth = (1 - 4 * share) * number + share * near
    base = np.float32(1 / 256) if otherwise is None else otherwise
    escape = seen + np.float32(0.5)
    chances: F32 = (smooth + escape * base) / (total + escape)
    return chances


def _peers(counts: Counts) -> tuple[I64, I32]:
    """For each byte the other byte of its frame that it is best told from, −1 if none helps; and their differences."""
    pairs = counts.pairs_PBBV
    own = _entropy(counts.values_PBV)
    between = np.where(pairs.sum(-1) > 0, _entropy(pairs), np.inf)
    peer = between.argmin(-1)
    best = np.take_along_axis(between, peer[..., None], -1)[..., 0]
    difference = np.take_along_axis(pairs, peer[..., None, None], 2)[:, :, 0]
    useful = best + _PEER_GAIN_BITS < own
    return np.where(useful, peer, -1).astype(np.int64), np.where(useful[..., None], difference, 0)


def _entropy(number: I32) -> F64:
    """Entropy of counts over the last axis, bits."""
    share = number / np.maximum(number.sum(-1, keepdims=True), 1)
    entropy: F64 = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(-1)
    return entropy
