"""A capture cut into pieces that memory holds, each with the events that its windows need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from candor.ids.captures.cursor import Cursor, Sized

# n events of a piece, G windows of it

I64 = npt.NDArray[np.int64]

#: New events of a piece. One of frames takes some 60 B a frame, so 16 MB, and two are held: one is built, one is read.
PIECE_EVENTS = 1 << 18

EventsT = TypeVar("EventsT", bound=Sized)
MadeT = TypeVar("MadeT")


@dataclass(frozen=True)
class Piece(Generic[MadeT]):
    """Some events of a capture, and the windows that lie in them and in no earlier piece.

    Attributes:
        made: what was made of the events.
        offset: place of the first event in the capture.
        first: ordinal of the first window. start_G, stop_G: events of each window, counted from ``offset``.
        last: no other piece follows.
    """

    made: MadeT
    offset: int
    first: int
    start_G: I64
    stop_G: I64
    last: bool


def pieces(
    cursor: Cursor[EventsT],
    num_events: int,
    ranges: tuple[I64, I64],
    make: Callable[[EventsT, int], MadeT],
) -> Iterator[Piece[MadeT]]:
    """All windows ``[start, stop)`` of a capture, which begin and end in ascending order, piece by piece.

    ``make`` is given the events of a piece and the number of new ones among them: those before were the last of the
    piece before. It is called on every event of the capture, in order. Raises IndexError if a window leaves the capture.
    """
    start_G, stop_G = ranges
    if len(stop_G) and int(stop_G[-1]) > num_events:
        raise IndexError(f"windows must lie inside the capture's {num_events} events")
    step = max(PIECE_EVENTS, int((stop_G - start_G).max(initial=0)))
    first = max(step // 8, 1)  # Until there is a piece, nobody has anything to build.
    begin = made = built = 0  # First event still wanted, events seen, windows handed out.
    while made < num_events:
        end = min(made + step if made else first, num_events)
        events = make(cursor.rows(begin, end), end - made)
        here = slice(built, int(np.searchsorted(stop_G, end, side="right")))
        start, stop = start_G[here] - begin, stop_G[here] - begin
        yield Piece(events, begin, built, start, stop, end == num_events)
        built, made = here.stop, end
        begin = min(int(start_G[built]), end) if built < len(start_G) else end
