"""Sequences of identifiers: how likely is the next one after the n − 1 before it, as counted on benign traffic.

    p(next | n − 1 before) = (seen + s · p(next | n − 2 before)) / (seen in all + s),   p(next) = 1 / slots

Additive smoothing towards the next shorter context, which is what nested Dirichlet priors come to (MacKay & Peto 1995). Of two
IDs it is the bigram of a window's own graph, and the same numbers. One slot is for all IDs that were never seen.

Legend: m places in sequences laid end to end, P identifiers, k the length of a context.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.errors import DataError

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

    def plus(self, other: _Counts) -> _Counts:
        """Both together."""
        context = _added(self.context, self.context_seen, other.context, other.context_seen)
        return _Counts(*context, *_added(self.pair, self.pair_seen, other.pair, other.pair_seen))

    @staticmethod
    def look_up(keys: I64, seen: I64, asked: I64) -> F64:
        """Count of each key that is asked for, 0 where it was never seen."""
        if not len(keys):
            return np.zeros(len(asked))
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where(keys[at] == asked, seen[at], 0).astype(np.float64)


def _added(a: I64, seen_a: I64, b: I64, seen_b: I64) -> tuple[I64, I64]:
    keys = np.union1d(a, b)
    seen = np.zeros(len(keys), np.int64)
    for own, number in ((a, seen_a), (b, seen_b)):
        seen[np.searchsorted(keys, own)] += number
    return keys, seen


@dataclass(frozen=True)
class Order:
    """Sequences of up to ``order`` identifiers as they were counted.

    Attributes:
        key_P: identifiers that were seen, ascending.
        weight: of the shorter context.
        counts: of contexts of 1, 2, ... identifiers.
    """

    key_P: npt.NDArray[Any]
    order: int
    weight: float
    counts: tuple[_Counts, ...]

    @classmethod
    def fit(cls, id_m: npt.NDArray[Any], since_m: I64, *, order: int, smoothing: float) -> Order:
        """Count. ``since_m``: how many IDs of its own sequence stand before each place; a context never crosses a 0.

        ``smoothing`` is added to every count, so that what was never seen has a probability.

        Raises:
            DataError: too many identifiers for contexts of this length.
        """
        return cls.empty(np.unique(id_m), order=order, smoothing=smoothing).seen(id_m, since_m)

    @classmethod
    def empty(cls, key_P: npt.NDArray[Any], *, order: int, smoothing: float) -> Order:
        """Nothing seen of these identifiers, which ascend. Raises as ``fit``."""
        slots = len(key_P) + 1
        # Contexts are whole numbers to the base of the slots, and must fit into 63 bits.
        if order * np.log2(slots) >= 63:
            raise DataError(
                f"{len(key_P)} IDs are too many for sequences of {order}",
                hint="Lower the order (ngram_order).",
            )
        none = np.zeros(0, np.int64)
        return cls(key_P, order, smoothing * slots, tuple(_Counts.of(none, none) for _ in range(1, order)))

    def seen(self, id_m: npt.NDArray[Any], since_m: I64) -> Order:
        """More sequences counted, as ``fit`` does."""
        code_m = self._codes(id_m)
        more = (_Counts.of(*self._keys_of(code_m, since_m, k)[1:]) for k in range(1, self.order))
        return replace(self, counts=tuple(a.plus(b) for a, b in zip(self.counts, more, strict=True)))

    @property
    def slots(self) -> int:
        """Identifiers, and one for all others."""
        return len(self.key_P) + 1

    def chances(self, id_m: npt.NDArray[Any], since_m: I64) -> F64:
        """p(next) at every place; 1 / slots where nothing stands before it. [m]"""
        code_m = self._codes(id_m)
        p_m = np.full(len(code_m), 1.0 / self.slots)
        for k, counts in enumerate(self.counts, 1):
            # The first places of a sequence have shorter contexts, and keep what those say.
            at, context, pair = self._keys_of(code_m, since_m, k)
            seen = counts.look_up(counts.pair, counts.pair_seen, pair)
            whole = counts.look_up(counts.context, counts.context_seen, context)
            p_m[at] = (seen + self.weight * p_m[at]) / (whole + self.weight)
        return p_m

    def _codes(self, id_m: npt.NDArray[Any]) -> I64:
        """Slot of every ID; the last is for those never seen."""
        if not len(self.key_P):
            return np.zeros(len(id_m), np.int64)
        at = np.minimum(np.searchsorted(self.key_P, id_m), len(self.key_P) - 1)
        return np.where(self.key_P[at] == id_m, at, len(self.key_P)).astype(np.int64)

    def _keys_of(self, code_m: I64, since_m: I64, k: int) -> tuple[I64, I64, I64]:
        """Places that have ``k`` IDs of their own sequence before them; those k as one number; the same with the next ID."""
        at = np.flatnonzero(since_m >= k)
        context = np.zeros(len(at), np.int64)
        for back in range(k, 0, -1):
            context = context * self.slots + code_m[at - back]
        return at, context, context * self.slots + code_m[at]
