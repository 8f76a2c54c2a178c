"""Benign traffic measured part by part: what a profile says, in memory that depends on the number of IDs only.

Legend: P IDs so far, B=8 payload bytes, n frames of a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frame_file import FrameArray, FrameFile
from candor.ids.captures.frames import REMOTE, rows
from candor.ids.graphs import compiled_tally
from candor.ids.graphs.medians import Codes, Kept, medians
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.stream import MIN_TIME_S, Numbering, Stream, go_on
from candor.learn.reuse import Buffers

F64 = npt.NDArray[np.float64]
Kind = Literal["attack_free", "stream"]

_CONSTANTS = compiled_tally.Constants(REMOTE, dlc_code(np.arange(65, dtype=np.uint8)), MIN_TIME_S)
#: MAD of a normal distribution × this is its standard deviation.
_NORMAL = 1.4826


class Tally:
    """Pools contiguous pieces of benign traffic into one profile; no interval crosses from one piece to the next.

    Medians and MAD because a single bus stall or a few injected frames in the calibration seconds must not move them.
    They want all intervals, which are put aside on disk.

    Args:
        scratch: where intervals are put once they are many; by default the system's folder for such files.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._row: dict[int, int] = {}  # Key → row, in the order of appearance.
        self._sums = _sums(1 << 8)
        self._intervals = Kept(scratch)
        self._buffers = Buffers()
        self._borders: list[tuple[np.float64, np.float64]] = []  # First and last time of each piece.
        self._frames, self._begins = 0, True

    def begin(self) -> None:
        """What is added next does not follow on what was added last."""
        self._begins = True

    def add(self, part: Stream) -> None:
        """More of a piece. Raises StorageFull."""
        n = len(part)
        if not n:
            return
        first = part.t_n[0] if self._begins else self._borders.pop()[0]
        self._borders.append((first, part.t_n[-1]))
        self._frames, self._begins = self._frames + n, False
        out = compiled_tally.Intervals(
            self._buffers.empty("code", (n,), np.uint32), self._buffers.empty("value", (n,), np.float64)
        )
        columns = (part.code_n, part.word_n, part.dlc_n, part.flags_n, part.dt_n, part.change_n)
        kept = compiled_tally.measure(
            compiled_tally.Part(self._rows(part.key_U), *columns), _CONSTANTS, self._sums, out
        )
        self._intervals.add(out.code[:kept], out.value[:kept])

    def profile(
        self, *, kind: Kind, vehicle: str, source: Sequence[str], set_aside_s: float = 0.0
    ) -> Profile:
        """What was measured."""
        seconds = float(sum(max(last - first, 0.0) for first, last in self._borders))
        fallback_s = seconds if seconds > 0 else 1.0
        key_P = np.fromiter(self._row, np.uint32, len(self._row))
        order = np.argsort(key_P)
        sums = compiled_tally.Sums(*(column[: len(key_P)] for column in self._sums))
        median_P, spread_P = self._interval_statistics(sums, fallback_s)
        return Profile(
            key_P=key_P[order],
            count_P=sums.count[order],
            median_interval_s_P=median_P[order],
            log_spread_P=spread_P[order],
            longest_interval_s_P=np.where(sums.longest > 0, sums.longest, fallback_s)[order],
            bit_change_P=(sums.flips / np.maximum(sums.compared, 1))[order],
            byte_min_PB=sums.low[order],
            byte_max_PB=sums.high[order],
            dlc_mask_P=sums.dlc_mask[order],
            frames_per_s=self._frames / seconds if seconds > 0 else 0.0,
            seconds=seconds,
            frames=self._frames,
            kind=kind,
            vehicle=vehicle,
            source=tuple(source),
            set_aside_s=set_aside_s,
        )

    def close(self) -> None:
        """Forget the intervals."""
        self._intervals.close()

    def __enter__(self) -> Tally:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, key_U: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        row = self._row
        row_U = np.fromiter((row.setdefault(key, len(row)) for key in key_U.tolist()), np.int64, len(key_U))
        if len(row) > len(self._sums.count):
            more = _sums(max(2 * len(self._sums.count), len(row)))
            for column, found in zip(more, self._sums, strict=True):
                column[: len(found)] = found
            self._sums = more
        return row_U

    def _interval_statistics(self, sums: compiled_tally.Sums, fallback_s: float) -> tuple[F64, F64]:
        """Median interval, and 1.4826 × MAD of ln(interval), per ID. IDs without an interval get ``fallback_s`` and 0."""
        median_P = medians(self._intervals.parts, sums.timed, empty=fallback_s)
        log_P = np.log(median_P)

        def deviations() -> Iterator[tuple[Codes, F64]]:
            for code_n, dt_n in self._intervals.parts():
                yield code_n, np.abs(np.log(dt_n) - log_P[code_n])

        spread_P = _NORMAL * medians(deviations, sums.timed, empty=0.0)
        return median_P, np.where(sums.timed >= 2, spread_P, 0.0)


def _sums(size: int) -> compiled_tally.Sums:
    counts = (np.zeros(size, np.int64) for _ in range(3))
    reals = (np.zeros(size) for _ in range(2))
    low, high = np.full((size, 8), 255, np.uint8), np.zeros((size, 8), np.uint8)
    count, timed, compared = counts
    longest, flips = reals
    return compiled_tally.Sums(count, timed, longest, compared, flips, low, high, np.zeros(size, np.uint32))


def measure(
    pieces: Iterable[Stream], *, kind: Kind, vehicle: str, source: Sequence[str], set_aside_s: float = 0.0
) -> Profile:
    """Profile of contiguous pieces of benign traffic."""
    with Tally() as tally:
        for piece in pieces:
            tally.begin()
            tally.add(piece)
        return tally.profile(kind=kind, vehicle=vehicle, source=source, set_aside_s=set_aside_s)


def add_capture(
    tally: Tally, capture: FrameFile | FrameArray, spans: Iterable[tuple[int, int]] | None = None
) -> None:
    """Add frames of a capture, read a part at a time.

    Args:
        spans: frames ``[start, stop)`` of contiguous pieces, in ascending order and apart; by default all of it.
    """
    waiting = [(0, len(capture))] if spans is None else list(spans)
    numbering, buffers, first = Numbering(), Buffers(), 0
    for frames in capture.frames():
        end = first + len(frames)
        while waiting and waiting[0][0] < end:
            start, stop = waiting[0]
            if start >= first:  # A frame's past begins with its piece.
                numbering = Numbering()
                tally.begin()
            here = slice(max(start, first) - first, min(stop, end) - first)
            tally.add(go_on(numbering, rows(frames, here), into=buffers))
            if stop > end:
                break
            waiting.pop(0)
        first = end
