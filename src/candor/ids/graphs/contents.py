"""What windows contain, as 64-bit hashes of their IDs and payloads: finds a test window that training already held."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import FrameArrays, bus_frames
from candor.ids.captures.mixing import mix
from candor.ids.graphs.vocabulary import id_key

# n frames, G windows

#: Windows whose hashes are computed at once.
_AT_ONCE = 1 << 18

U64 = npt.NDArray[np.uint64]

#: Odd, so that it has an inverse modulo 2^64: a window's hash must not depend on where it lies in the capture.
_BASE = np.uint64(0x9E37_79B9_7F4A_7C15)
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))


def frame_hashes(frames: FrameArrays) -> U64:
    """A 64-bit hash per bus frame of ID, DLC and (the first 8 bytes of) the payload; time and label are left out."""
    rows = bus_frames(frames)
    payload = np.ascontiguousarray(frames.data[rows]).view("<u8").ravel()
    head = id_key(frames.id[rows], frames.flags[rows]).astype(np.uint64) << np.uint64(8)
    return mix(mix(payload) ^ (head | frames.dlc[rows].astype(np.uint64)))


def window_hashes(frame_hash_n: U64, start_G: npt.NDArray[np.integer], window_frames: int) -> U64:
    """Polynomial hash of each window, the same wherever the window lies (arithmetic modulo 2^64)."""
    found = np.empty(len(start_G), np.uint64)
    # Some at a time: powers, prefix sums and their like are 40 B a frame.
    for a in range(0, len(start_G), _AT_ONCE):
        start = start_G[a : a + _AT_ONCE]
        first = int(start.min())
        own = frame_hash_n[first : int(start.max()) + window_frames]
        found[a : a + _AT_ONCE] = _window_hashes(own, start - first, window_frames)
    return found


def _window_hashes(frame_hash_n: U64, start_G: npt.NDArray[np.integer], window_frames: int) -> U64:
    n = len(frame_hash_n)
    prefix = np.zeros(n + 1, np.uint64)
    np.cumsum(frame_hash_n * _powers(_BASE, n), out=prefix[1:])
    spread = prefix[start_G + window_frames] - prefix[start_G]
    result: U64 = spread * _powers(_INVERSE, n + 1)[start_G]
    return result


def all_window_hashes(frame_hash_n: U64, window_frames: int) -> U64:
    """Hashes at every offset, sorted: a copy is found even if it was shifted by a few frames."""
    starts = np.arange(max(len(frame_hash_n) - window_frames + 1, 0))
    return np.sort(window_hashes(frame_hash_n, starts, window_frames))


def contained(hash_G: U64, sorted_hashes: U64) -> npt.NDArray[np.bool_]:
    """Whether each hash occurs among ``sorted_hashes``."""
    if not len(sorted_hashes):
        return np.zeros(len(hash_G), bool)
    at = np.minimum(np.searchsorted(sorted_hashes, hash_G), len(sorted_hashes) - 1)
    found: npt.NDArray[np.bool_] = sorted_hashes[at] == hash_G
    return found


def capture_digest(frame_hash_n: U64) -> str:
    """Hex digest of a whole capture's IDs and payloads, in order."""
    return hashlib.sha256(frame_hash_n.tobytes()).hexdigest()


def _powers(base: np.uint64, n: int) -> U64:
    powers = np.full(n, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)
