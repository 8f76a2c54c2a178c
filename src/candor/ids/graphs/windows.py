"""Where windows lie: cuts of one capture, on one side of the split, never across a capture or a block of the other side."""

from __future__ import annotations

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
    if isinstance(window, WindowConfig):
        start = split_starts(len(t_n), side, window, split)
        return start, start + window.window_frames
    whole = [Segment(0, len(t_n), "test")] if len(t_n) else []
    parts = whole if side == "test" else [s for s in segments(len(t_n), split) if s.side == side]
    found = [_time_ranges(t_n, s.start, s.stop, window) for s in parts] or [np.zeros((2, 0), np.int64)]
    start, stop = np.concatenate(found, axis=1)
    return start, stop


def _time_ranges(t_n: F64, start: int, stop: int, window: TimeWindowConfig) -> I64:
    """[2, G] frame ranges of the windows of seconds that lie wholly in ``[start, stop)``."""
    # Loggers step back by microseconds; where a window ends is decided by the latest time so far.
    t = np.maximum.accumulate(t_n[start:stop])
    number = int(max((t[-1] - t[0] - window.window_s) / window.stride_s + 1, 0))
    begin_s = t[0] + window.stride_s * np.arange(number)
    ranges = start + np.searchsorted(t, np.stack([begin_s, begin_s + window.window_s]))
    return ranges[:, ranges[1] - ranges[0] >= 2].astype(np.int64)
