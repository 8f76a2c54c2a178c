"""Where windows lie: cuts of one capture, on one side of the split, never across a capture or a block of the other side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from candor.ids.config import SplitConfig, TimeWindowConfig, Window, WindowConfig

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Side = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Segment:
    """Frames ``[start, stop)`` of one capture that all belong to ``side``."""

    start: int
    stop: int
    side: Side


def segments(num_frames: int, split: SplitConfig) -> list[Segment]:
    """Cut a training capture into train and validation segments, in order, by frame index.

    The capture is divided into ``split.blocks`` contiguous blocks of (almost) equal frames. Neighbouring blocks of
    one side join into one segment. The embargo is taken from the training side at both edges of a validation
    segment: validation data is the scarcer. Segments that the embargo leaves empty are absent.
    """
    if num_frames <= 0:
        return []
    edges = np.linspace(0, num_frames, split.blocks + 1).round().astype(np.int64)
    block = np.arange(split.blocks)
    offset = block - split.validation_offset
    validates = (offset >= 0) & (offset % split.validation_every == 0)
    change = np.flatnonzero(np.diff(validates.astype(np.int8))) + 1
    first, last = np.r_[0, change], np.r_[change, split.blocks]
    found = []
    for a, b in zip(first, last, strict=True):
        start, stop, is_val = int(edges[a]), int(edges[b]), bool(validates[a])
        if not is_val:
            start += split.embargo_frames if a > 0 else 0
            stop -= split.embargo_frames if b < split.blocks else 0
        if stop > start:
            found.append(Segment(start, stop, "val" if is_val else "train"))
    return found


def window_starts(start: int, stop: int, window: WindowConfig) -> npt.NDArray[np.int64]:
    """First frames of the windows that lie wholly in ``[start, stop)``; empty if none fits."""
    return np.arange(start, stop - window.window_frames + 1, window.stride_frames, dtype=np.int64)


def split_starts(
    num_frames: int, side: Side, window: WindowConfig, split: SplitConfig
) -> npt.NDArray[np.int64]:
    """First frames of all windows of ``side`` in a capture, ascending.

    ``test`` takes the whole capture: test captures are not cut. A capture shorter than a window gives none.
    """
    if side == "test":
        return window_starts(0, num_frames, window)
    parts = [window_starts(s.start, s.stop, window) for s in segments(num_frames, split) if s.side == side]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def split_ranges(t_n: F64, side: Side, window: Window, split: SplitConfig) -> tuple[I64, I64]:
    """First frame of every window of ``side`` and the one behind its last, for windows of frames or of seconds.

    Windows of seconds begin anew with each segment. Those with less than two frames hold no transition and are left
    out: a silent bus is seen by the frames that return late.
    """
    return ranges_of(len(t_n), lambda: [t_n], side, window, split)


def ranges_of(
    num_frames: int, times: Callable[[], Iterable[F64]], side: Side, window: Window, split: SplitConfig
) -> tuple[I64, I64]:
    """``split_ranges`` of a capture whose times come some at a time, and are asked for only if windows need them."""
    if isinstance(window, WindowConfig):
        start = split_starts(num_frames, side, window, split)
        return start, start + window.window_frames
    whole = [Segment(0, num_frames, "test")] if num_frames else []
    found = whole if side == "test" else [s for s in segments(num_frames, split) if s.side == side]
    grids = [_TimeGrid(s, window) for s in found]
    first = 0
    for t in times():
        for grid in grids:
            grid.add(t, first)
        first += len(t)
    ranges = [grid.ranges() for grid in grids] or [np.zeros((2, 0), np.int64)]
    start, stop = np.concatenate(ranges, axis=1)
    return start, stop


class _TimeGrid:
    """Windows of seconds that lie wholly in a segment: frames that they begin and end with, as the times come."""

    def __init__(self, segment: Segment, window: TimeWindowConfig) -> None:
        self._segment, self._window = segment, window
        self._begin_s = self._latest_s = -np.inf
        self._borders: tuple[list[I64], list[I64]] = ([], [])
        self._placed = [0, 0]

    def add(self, t_n: F64, first: int) -> None:
        """The next times of the capture, of which the first is that of frame ``first``."""
        a, b = max(self._segment.start, first), min(self._segment.stop, first + len(t_n))
        if a >= b:
            return
        if a == self._segment.start:
            self._begin_s = float(t_n[a - first])
        # Loggers step back by microseconds; where a window ends is decided by the latest time so far.
        t = np.maximum(np.maximum.accumulate(t_n[a - first : b - first]), self._latest_s)
        self._latest_s = float(t[-1])
        for end, offset_s in enumerate((0.0, self._window.window_s)):
            reached = int((self._latest_s - self._begin_s - offset_s) / self._window.stride_s) + 2
            at_s = self._at(np.arange(self._placed[end], max(reached, self._placed[end])), offset_s)
            at_s = at_s[at_s <= self._latest_s]
            self._borders[end].append(a + np.searchsorted(t, at_s))
            self._placed[end] += len(at_s)

    def _at(self, number: I64, offset_s: float) -> F64:
        return np.asarray(self._begin_s + self._window.stride_s * number + offset_s, np.float64)

    def ranges(self) -> I64:
        """[2, G] frame ranges of two frames or more."""
        length_s = self._latest_s - self._begin_s
        number = int(max((length_s - self._window.window_s) / self._window.stride_s + 1, 0))
        start, stop = (np.concatenate([*found, np.zeros(0, np.int64)])[:number] for found in self._borders)
        # A border behind the last time by rounding alone lies behind the last frame.
        stop = np.r_[stop, np.full(number - len(stop), self._segment.stop)]
        return np.stack([start, stop])[:, stop - start >= 2].astype(np.int64)
