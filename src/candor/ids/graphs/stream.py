"""Per-frame quantities of one capture, computed once and reduced by every window that covers the frame."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import ERROR, EXTENDED, REMOTE, FrameArrays
from candor.ids.graphs import compiled_frames
from candor.ids.graphs.features import LOG_CLIP
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.vocabulary import EXTENDED_BIT
from candor.learn.reuse import Buffers

# n frames, U distinct IDs of the capture, 8 payload bytes

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
T = TypeVar("T")

#: Shortest time taken seriously, s: timestamps have µs at best, and logarithms need something above 0.
MIN_TIME_S = 1e-6


@dataclass(frozen=True)
class Stream:
    """Frames of one capture, error frames left out, with what does not depend on a profile.

    Attributes:
        t_n: s since the capture's first frame.
        key_U: u32 distinct ID keys, ascending. code_n: index of each frame's key.
        data_n8: the first 8 payload bytes, what is behind the payload 0. dlc_n, y_n: as in FrameArrays. attack_n: index into attack_names, −1 benign.
        has_data_n: False for remote frames, which carry no payload.
        size_n: payload bytes looked at, 0..8.
        dt_n: s since the previous frame of the same ID, NaN for the first. May be negative where time runs backwards.
        change_n: share of payload bits changed since that frame, NaN unless both carry a payload.
        entropy_n: entropy of the byte values within the payload / ln(size), 0 below two bytes.
        num_errors: error frames left out.
    """

    t_n: F64
    key_U: npt.NDArray[np.uint32]
    code_n: npt.NDArray[np.uint32]
    data_n8: npt.NDArray[np.uint8]
    dlc_n: npt.NDArray[np.uint8]
    y_n: npt.NDArray[np.uint8]
    attack_n: npt.NDArray[np.int16]
    attack_names: tuple[str, ...]
    has_data_n: Bool
    size_n: npt.NDArray[np.uint8]
    dt_n: F64
    change_n: F32
    entropy_n: F32
    num_errors: int

    def __len__(self) -> int:
        return len(self.t_n)


def bus_frames(frames: FrameArrays) -> npt.NDArray[np.int64]:
    """Rows that are no error frames: the frames that windows are cut from. Error frames carry no arbitration ID."""
    return np.flatnonzero((frames.flags & ERROR) == 0)


def prepare(frames: FrameArrays, start: int = 0, stop: int | None = None, *, threads: int = 1) -> Stream:
    """Per-frame quantities of the bus frames ``[start, stop)``; a frame's past begins at ``start``."""
    is_error = (frames.flags & ERROR) != 0
    num_errors = int(np.count_nonzero(is_error))
    rows = bus_frames(frames)[start:stop] if num_errors else slice(start, stop)
    flags, data, dlc, t = (_own(values[rows]) for values in (frames.flags, frames.data, frames.dlc, frames.t))
    n = len(t)
    has_data = (flags & REMOTE) == 0
    previous = np.empty(n, np.int32 if n < 1 << 31 else np.int64)
    out = compiled_frames.Measured(
        *(np.empty(n, np.uint32), np.empty(n, np.uint8), np.empty(n)),
        *(np.empty(n, np.float32), np.empty(n, np.float32)),
    )
    ids, words = _own(frames.id[rows]), data.view("<u8").ravel()

    def number(a: int, b: int) -> tuple[npt.NDArray[Any], ...]:
        numbered: tuple[npt.NDArray[Any], ...] = compiled_frames.number_ids(
            a, b, EXTENDED, EXTENDED_BIT, ids, flags, out.code, previous
        )
        return numbered

    parts = _in_parts(number, n, threads)
    key_U = np.unique(np.concatenate([keys for _, (keys, _, _) in parts]))
    rank = {a: np.searchsorted(key_U, keys).astype(np.uint32) for a, (keys, _, _) in parts}
    latest_U = np.full(len(key_U), -1, previous.dtype)
    for a, (_, first, last) in parts:  # An ID's first frame of a part goes on from an earlier part.
        previous[first] = latest_U[rank[a]]
        latest_U[rank[a]] = last

    def compare(a: int, b: int) -> bool:
        spilt: bool = compiled_frames.compare(
            a, b, rank[a], _LOG_88, _PAYLOAD, t, words, dlc, has_data, previous, out
        )
        return spilt

    if any(spilt for _, spilt in _in_parts(compare, n, threads)):
        data = (words & _PAYLOAD[out.size]).view(np.uint8).reshape(n, 8)
    return Stream(
        t_n=t,
        key_U=key_U,
        code_n=out.code,
        data_n8=data,
        dlc_n=dlc,
        y_n=_own(frames.y[rows]),
        attack_n=_own(frames.attack_code[rows]),
        attack_names=tuple(frames.attack_names),
        has_data_n=has_data,
        size_n=out.size,
        dt_n=out.dt,
        change_n=out.change,
        entropy_n=out.entropy,
        num_errors=num_errors,
    )


#: ln(k / s) for k of s bytes.
_LOG_88 = np.log(np.maximum(np.arange(9), 1)[:, None] / np.maximum(np.arange(9), 1))
#: Bits of the first s bytes of a payload.
_PAYLOAD = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_DLC_CODE = dlc_code(np.arange(65, dtype=np.uint8)).astype(np.int64)


def _own(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Writable and contiguous: Numba compiles anew for every other layout."""
    return np.require(values, requirements=["C", "W"])


def _in_parts(work: Callable[[int, int], T], n: int, threads: int) -> list[tuple[int, T]]:
    """``a`` and ``work(a, b)`` over ``[0, n)``, in ``threads`` parts at once; ``work`` releases the GIL."""
    if threads <= 1 or n < 2 * threads:
        return [(0, work(0, n))]
    edges = np.linspace(0, n, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        return list(zip(edges[:-1], pool.map(work, edges[:-1], edges[1:]), strict=True))


@dataclass(frozen=True)
class Relative:
    """Per-frame quantities relative to a profile; all 0 or False where the profile does not know the ID.

    They are computed when asked for: by the block while a capture is built (``rows``), so that they never leave the
    processor's cache, and once for all frames where something reads the columns.

    Attributes:
        stream, profile: what is compared.
        known_U, median_U: the profile knows the ID, and its median interval; per distinct ID of the capture (1 s if
            unknown).
        mark_n8, real_n4: what the compiled pass reads; its columns are the properties below (and the frame's entropy).
        known_n: the profile knows the ID. timed_n: known and has a dt. early_n, late_n: see the feature table.
        log_ratio_n: ln(dt / median), clipped. compared_n: known and has a bit change.
        deviation_n: bit change minus the profile's mean. dlc_new_n: DLC never seen for that ID.
        outside_n: payload bytes outside the profile's range. bytes_n: bytes compared.
    """

    stream: Stream
    profile: Profile
    known_U: Bool
    median_U: F64
    ids: compiled_frames.Known

    def rows(self, a: int, b: int, into: Buffers) -> tuple[npt.NDArray[np.uint8], F32]:
        """Marks and reals of the frames ``[a, b)``; releases the GIL."""
        s, here = self.stream, slice(a, b)
        mark, real = into.empty("mark", (b - a, 8), np.uint8), into.empty("real", (b - a, 4), np.float32)
        columns = compiled_frames.Columns(
            *(s.code_n[here], s.data_n8[here], s.size_n[here], s.dlc_n[here]),
            *(s.dt_n[here], s.change_n[here], s.entropy_n[here]),
        )
        compiled_frames.relate(self.ids, columns, _DLC_CODE, MIN_TIME_S, LOG_CLIP, mark, real)
        return mark, real

    @cached_property
    def _all(self) -> tuple[npt.NDArray[np.uint8], F32]:
        return self.rows(0, len(self.stream), Buffers())

    mark_n8 = property(lambda self: self._all[0])
    real_n4 = property(lambda self: self._all[1])
    known_n = property(lambda self: self.mark_n8[:, compiled_frames.KNOWN].view(bool))
    timed_n = property(lambda self: self.mark_n8[:, compiled_frames.TIMED].view(bool))
    early_n = property(lambda self: self.mark_n8[:, compiled_frames.EARLY].view(bool))
    late_n = property(lambda self: self.mark_n8[:, compiled_frames.LATE].view(bool))
    compared_n = property(lambda self: self.mark_n8[:, compiled_frames.COMPARED].view(bool))
    dlc_new_n = property(lambda self: self.mark_n8[:, compiled_frames.DLC_NEW].view(bool))
    outside_n = property(lambda self: self.mark_n8[:, compiled_frames.OUTSIDE])
    bytes_n = property(lambda self: self.mark_n8[:, compiled_frames.BYTES])
    log_ratio_n = property(lambda self: self.real_n4[:, compiled_frames.LOG_RATIO])
    deviation_n = property(lambda self: self.real_n4[:, compiled_frames.DEVIATION])


def relate(stream: Stream, profile: Profile) -> Relative:
    """Compare every frame with the profile of its ID."""
    row_U, known_U = profile.lookup(stream.key_U)

    def of_id(values_P: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows = (
            values_P[row_U] if len(values_P) else np.zeros((len(row_U), *values_P.shape[1:]), values_P.dtype)
        )
        return np.ascontiguousarray(rows)

    median_U = np.where(known_U, of_id(profile.median_interval_s_P), 1.0)
    ids = compiled_frames.Known(
        *(known_U, median_U, median_U * np.exp(-1.0), 3.0 * median_U, of_id(profile.bit_change_P)),
        *(of_id(profile.byte_min_PB), of_id(profile.byte_max_PB)),
        of_id(profile.dlc_mask_P).astype(np.int64),
    )
    return Relative(stream, profile, known_U, median_U, ids)
