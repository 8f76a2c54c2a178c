"""Where windows lie: cuts of one capture, on one side of the split, never across a capture or a block of the other side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from candor.ids.config import SplitConfig, WindowConfig

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
