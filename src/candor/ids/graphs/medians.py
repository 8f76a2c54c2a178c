"""Exact medians of many groups of values that memory does not hold.

The bits of a float that is not negative, read as a whole number, are in the order of the floats. So the range that a
group's median lies in can be narrowed by counting: a histogram over the range says which bucket holds it, that bucket is
the next range. Once few values are left in all ranges, these are sorted. Nothing is approximated: what is found is what
sorting all values would find, whatever their number, in memory that depends on the number of groups only.

Legend: n values of a part, P groups, A groups whose range is to be narrowed, K buckets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import storage
from candor.ids.graphs import compiled_medians

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]

#: Values of groups, with their groups' numbers, some at a time.
Parts = Iterable[tuple[Codes, F64]]

#: Values that are sorted: 50 B each while they are.
HELD_VALUES = 1 << 19
#: Counters of a histogram, 8 B each; of one group at most 2^12.
_COUNTERS, _MOST_BITS = 1 << 20, 12
#: Bytes that stay in memory before a file takes them; values of one write.
_SPOOLED, _PART = 1 << 24, 1 << 18


class Kept:
    """Values put aside, to be read again as often as wanted: 12 B each, in memory while they are few, else in a file.

    Args:
        scratch: folder of the file, which nobody sees and which goes when this is closed; by default the system's.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        folder = str(scratch) if scratch is not None else None
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOLED, dir=folder)  # noqa: SIM115 - closed by close().
        self._sizes: list[int] = []

    def add(self, code_n: Codes, value_n: F64) -> None:
        """Put more aside. Raises StorageFull."""
        with storage(Path(self._scratch or tempfile.gettempdir()) / "intervals"):
            for a in range(0, len(code_n), _PART):
                part = slice(a, a + _PART)
                self._sizes.append(len(code_n[part]))
                self._file.write(np.ascontiguousarray(code_n[part], np.uint32).data)
                self._file.write(np.ascontiguousarray(value_n[part], np.float64).data)

    def parts(self) -> Iterator[tuple[Codes, F64]]:
        """All of it, in the order it came. One reader at a time."""
        self._file.seek(0)
        for size in self._sizes:
            code, value = np.empty(size, np.uint32), np.empty(size, np.float64)
            self._file.readinto(code.data)
            self._file.readinto(value.data)
            yield code, value

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def medians(parts: Callable[[], Parts], count_P: I64, *, empty: float) -> F64:
    """Median of the values of each group, the mean of the middle two where they are even; ``empty`` for a group without.

    Args:
        parts: the values, none negative and none NaN; asked for once per pass, and the same each time.
        count_P: number of values of each group.
    """
    ranges = _Ranges.all(count_P)
    enough = max(HELD_VALUES, 4 * len(count_P))
    if ranges.inside_P.sum() > enough:
        ranges = ranges.reached(parts())
    while ranges.inside_P[ranges.open_P].sum() > enough:
        ranges = ranges.narrowed(parts(), (count_P - 1) // 2)
    return _of_ranges(ranges, parts(), count_P, empty)


@dataclass(frozen=True)
class _Ranges:
    """Bits of floats that a group's lower median lies between: ``low`` to ``high``, both within.

    ``below_P``: its values that are smaller. ``inside_P``: those in the range.
    """

    low_P: I64
    high_P: I64
    below_P: I64
    inside_P: I64

    @classmethod
    def all(cls, count_P: I64) -> _Ranges:
        zero_P = np.zeros(len(count_P), np.int64)
        return cls(zero_P, np.full(len(count_P), np.iinfo(np.int64).max), zero_P, count_P.astype(np.int64))

    @property
    def open_P(self) -> npt.NDArray[np.bool_]:
        """Groups whose median is not known yet."""
        return (self.inside_P > 0) & (self.low_P < self.high_P)

    def reached(self, parts: Parts) -> _Ranges:
        """From the smallest to the largest value of each group."""
        low_P, high_P = self.high_P.copy(), self.low_P.copy()
        for code_n, value_n in parts:
            compiled_medians.extend(code_n, value_n.view(np.int64), low_P, high_P)
        return _Ranges(low_P, high_P, self.below_P, self.inside_P)

    def narrowed(self, parts: Parts, rank_P: I64) -> _Ranges:
        """The bucket of each open range that holds the value of ``rank_P``."""
        found = np.flatnonzero(self.open_P)
        bits = min(max((_COUNTERS // len(found)).bit_length() - 1, 1), _MOST_BITS)
        width_A = self.high_P[found] - self.low_P[found]
        shift_A = np.array([max(int(w).bit_length() - bits, 0) for w in width_A], np.int64)
        row_P = np.full(len(self.low_P), -1, np.int64)
        row_P[found] = np.arange(len(found))
        count_AK = np.zeros((len(found), 1 << bits), np.int64)
        for code_n, value_n in parts:
            compiled_medians.count(
                code_n,
                value_n.view(np.int64),
                row_P,
                self.low_P[found],
                self.high_P[found],
                shift_A,
                count_AK,
            )
        up_to_AK = np.cumsum(count_AK, axis=1)
        wanted_A = (rank_P - self.below_P)[found]
        bucket_A = (up_to_AK > wanted_A[:, None]).argmax(axis=1)
        here = np.arange(len(found)), bucket_A
        low_P, high_P = self.low_P.copy(), self.high_P.copy()
        below_P, inside_P = self.below_P.copy(), self.inside_P.copy()
        low_P[found] += bucket_A << shift_A
        high_P[found] = np.minimum(low_P[found] + (np.int64(1) << shift_A) - 1, high_P[found])
        below_P[found] += up_to_AK[here] - count_AK[here]
        inside_P[found] = count_AK[here]
        return _Ranges(low_P, high_P, below_P, inside_P)


def _of_ranges(ranges: _Ranges, parts: Parts, count_P: I64, empty: float) -> F64:
    """Medians, of which each lies in its range; values of open ranges are held and sorted."""
    open_P = ranges.open_P
    size_P = np.where(open_P, ranges.inside_P, 0)
    begin_P = np.cumsum(size_P) - size_P
    held, free_P = np.empty(int(size_P.sum()), np.int64), begin_P.copy()
    behind_P = np.full(len(count_P), np.iinfo(np.int64).max)  # Smallest value above the range.
    for code_n, value_n in parts:
        compiled_medians.collect(
            code_n, value_n.view(np.int64), open_P, ranges.low_P, ranges.high_P, free_P, held, behind_P
        )
    held = held[np.lexsort((held, np.repeat(np.arange(len(count_P)), size_P)))]

    def value(rank_P: I64) -> F64:
        at_P = rank_P - ranges.below_P
        inside_P = at_P < ranges.inside_P
        bits_P = np.where(inside_P, ranges.low_P, behind_P)
        taken = np.flatnonzero(inside_P & open_P)
        bits_P[taken] = held[(begin_P + at_P)[taken]]
        return bits_P.view(np.float64)

    has_P = count_P > 0
    middle_P = np.where(has_P, (count_P - 1) // 2, 0), np.where(has_P, count_P // 2, 0)
    lower_P, upper_P = (value(rank_P)[has_P] for rank_P in middle_P)
    found_P = np.full(len(count_P), empty)
    found_P[has_P] = 0.5 * (lower_P + upper_P)
    return found_P
