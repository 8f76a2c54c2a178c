"""The wire: one frame at a time, the lowest identifier first (ISO 11898-1 arbitration).

Legend: n frames.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.frames import MAX_STANDARD_ID

#: Bits of a data frame without payload, interframe space included: 11-bit and 29-bit identifiers.
_STANDARD_BITS, _EXTENDED_BITS = 47, 67
#: Of those, bits that stuffing can lengthen.
_STANDARD_STUFFED, _EXTENDED_STUFFED = 34, 54
#: One stuff bit per this many bits: between random payloads (32) and the worst case (4); real payloads have long runs.
_BITS_PER_STUFF_BIT = 12


def frame_seconds(id_: NDArray[np.uint32], dlc: NDArray[np.uint8], bitrate_bps: int) -> NDArray[np.float64]:
    """Time [n] in s that frames occupy the bus."""
    extended = id_ > MAX_STANDARD_ID
    payload = 8 * dlc.astype(np.int64)
    stuffed = np.where(extended, _EXTENDED_STUFFED, _STANDARD_STUFFED) + payload
    bits = np.where(extended, _EXTENDED_BITS, _STANDARD_BITS) + payload + stuffed // _BITS_PER_STUFF_BIT
    return np.asarray(bits / bitrate_bps)


def priority(id_: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Arbitration order [n], lowest wins: the 11 base bits, then standard before extended, then the other 18 bits."""
    wide = id_.astype(np.int64)
    extended = wide > MAX_STANDARD_ID
    return np.where(extended, (wide >> 18 << 19) | (1 << 18) | (wide & 0x3FFFF), wide << 19)


def arbitrate(
    release_s: NDArray[np.float64], id_: NDArray[np.uint32], seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time [n] in s at which each frame starts on the wire.

    Whenever the bus falls idle, the waiting frame with the lowest identifier goes; frames of one identifier keep
    their order. A queue has no closed form; one heap operation per frame takes about 1 s for 500,000 frames.
    """
    order = np.argsort(release_s, kind="stable")
    releases, ranks = release_s[order].tolist(), priority(id_)[order].tolist()
    lengths = seconds[order].tolist()
    start = [0.0] * len(releases)
    waiting: list[tuple[int, int]] = []
    idle_at, upcoming, count = 0.0, 0, len(releases)
    while upcoming < count or waiting:
        if not waiting and releases[upcoming] > idle_at:
            idle_at = releases[upcoming]
        while upcoming < count and releases[upcoming] <= idle_at:
            heappush(waiting, (ranks[upcoming], upcoming))
            upcoming += 1
        _, frame = heappop(waiting)
        start[frame] = idle_at
        idle_at += lengths[frame]
    out = np.empty(count, dtype=np.float64)
    out[order] = start
    return out
