"""Rows of a capture in ascending order, of which only those still wanted are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    def __len__(self) -> int: ...


RowsT = TypeVar("RowsT", bound=Sized)


class Cursor(Generic[RowsT]):
    """Rows ``[a, b)`` of a capture that comes part by part; views where one part has them all.

    Args:
        parts: the capture.
        cut: some rows of a part, as views.
        join: parts of one capture, one after the other.
    """

    def __init__(
        self,
        parts: Iterator[RowsT],
        cut: Callable[[RowsT, slice], RowsT],
        join: Callable[[Sequence[RowsT]], RowsT],
    ) -> None:
        self._parts, self._cut, self._join = parts, cut, join
        self._held: list[RowsT] = []
        self._first = self._end = 0  # Rows of the capture that are held.

    def rows(self, a: int, b: int) -> RowsT:
        """Rows ``[a, b)``, at least one; neither border ever before that of the call before.

        Raises IndexError if the capture ends before ``b``.
        """
        self._drop(a)
        while self._end < b:
            part = next(self._parts, None)
            if part is None:
                raise IndexError(f"the capture has {self._end} rows, not {b}")
            self._held.append(part)
            self._end += len(part)
            self._drop(a)  # Where rows are left out, they are not held until the next ones are found.
        found, at = [], self._first
        for part in self._held:
            if at < b:
                found.append(self._cut(part, slice(max(a - at, 0), b - at)))
            at += len(part)
        return found[0] if len(found) == 1 else self._join(found)

    def _drop(self, a: int) -> None:
        while self._held and self._first + len(self._held[0]) <= a:
            self._first += len(self._held.pop(0))
