"""Per-frame quantities of one capture, computed once and reduced by every window that covers the frame."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import ERROR, REMOTE, FrameArrays
from candor.ids.graphs import compiled_frames
from candor.ids.graphs.features import LOG_CLIP
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.vocabulary import id_key

# n frames, U distinct IDs of the capture, 8 payload bytes

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

#: Shortest time taken seriously, s: timestamps have µs at best, and logarithms need something above 0.
MIN_TIME_S = 1e-6


@dataclass(frozen=True)
class Stream:
    """Frames of one capture, error frames left out, with what does not depend on a profile.

    Attributes:
        t_n: s since the capture's first frame.
        key_U: u32 distinct ID keys, ascending. code_n: index of each frame's key.
        data_n8, dlc_n, y_n: as in FrameArrays. attack_n: index into attack_names, −1 benign.
        has_data_n: False for remote frames, which carry no payload.
        size_n: payload bytes looked at, 0..8.
        dt_n: s since the previous frame of the same ID, NaN for the first. May be negative where time runs backwards.
        change_n: share of payload bits changed since that frame, NaN unless both carry a payload.
        entropy_n: entropy of the byte values within the payload / ln(size), 0 below two bytes.
        num_errors: error frames left out.
    """

    t_n: F64
    key_U: npt.NDArray[np.uint32]
    code_n: npt.NDArray[np.int64]
    data_n8: npt.NDArray[np.uint8]
    dlc_n: npt.NDArray[np.uint8]
    y_n: npt.NDArray[np.uint8]
    attack_n: npt.NDArray[np.int16]
    attack_names: tuple[str, ...]
    has_data_n: Bool
    size_n: npt.NDArray[np.uint8]
    dt_n: F64
    change_n: F64
    entropy_n: F64
    num_errors: int

    def __len__(self) -> int:
        return len(self.t_n)


def bus_frames(frames: FrameArrays) -> npt.NDArray[np.int64]:
    """Rows that are no error frames: the frames that windows are cut from. Error frames carry no arbitration ID."""
    return np.flatnonzero((frames.flags & ERROR) == 0)


def prepare(frames: FrameArrays, start: int = 0, stop: int | None = None, *, threads: int = 1) -> Stream:
    """Per-frame quantities of the bus frames ``[start, stop)``; a frame's past begins at ``start``."""
    is_error = (frames.flags & ERROR) != 0
    num_errors = int(is_error.sum())
    rows = bus_frames(frames)[start:stop] if num_errors else slice(start, stop)
    flags, data, dlc, t = frames.flags[rows], frames.data[rows], frames.dlc[rows], frames.t[rows]
    n = len(t)
    has_data = (flags & REMOTE) == 0
    previous = np.empty(n, np.int32 if n < 1 << 31 else np.int64)
    out = compiled_frames.Measured(
        np.empty(n, np.int64), np.empty(n, np.uint8), np.empty(n), np.empty(n), np.empty(n)
    )
    keys = compiled_frames.number_ids(id_key(frames.id[rows], flags), out.code, previous)
    order = np.argsort(keys)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    data = _own(data)
    words = data.view("<u8").ravel()

    def compare(a: int, b: int) -> None:
        compiled_frames.compare(a, b, rank, _LOG_88, _own(t), words, _own(dlc), has_data, previous, out)

    _in_parts(compare, n, threads)
    return Stream(
        t_n=_own(t),
        key_U=keys[order],
        code_n=out.code,
        data_n8=data,
        dlc_n=_own(dlc),
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
_DLC_CODE = dlc_code(np.arange(65, dtype=np.uint8)).astype(np.int64)


def _own(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Writable and contiguous: Numba compiles anew for every other layout."""
    return np.require(values, requirements=["C", "W"])


def _in_parts(work: Callable[[int, int], None], n: int, threads: int) -> None:
    """``work(a, b)`` over ``[0, n)``, in ``threads`` parts at once; ``work`` releases the GIL."""
    if threads <= 1 or n < 2 * threads:
        work(0, n)
        return
    edges = np.linspace(0, n, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


@dataclass(frozen=True)
class Relative:
    """Per-frame quantities relative to a profile; all 0 or False where the profile does not know the ID.

    Attributes:
        known_n: the profile knows the ID. known_U, median_U: per distinct ID of the capture (1 s if unknown).
        timed_n: known and has a dt. log_ratio_n: ln(dt / median), clipped. early_n, late_n: see the feature table.
        compared_n: known and has a bit change. deviation_n: bit change minus the profile's mean.
        outside_n: payload bytes outside the profile's range. bytes_n: bytes compared.
        dlc_new_n: DLC never seen for that ID.
    """

    profile: Profile
    known_n: Bool
    known_U: Bool
    median_U: F64
    timed_n: Bool
    log_ratio_n: F64
    early_n: Bool
    late_n: Bool
    compared_n: Bool
    deviation_n: F64
    outside_n: npt.NDArray[np.uint8]
    bytes_n: npt.NDArray[np.uint8]
    dlc_new_n: Bool


def relate(stream: Stream, profile: Profile, *, threads: int = 1) -> Relative:
    """Compare every frame with the profile of its ID."""
    row_U, known_U = profile.lookup(stream.key_U)
    if not known_U.any():
        return unrelated(stream, profile, known_U)
    median_U = np.where(known_U, profile.median_interval_s_P[row_U], 1.0)
    ids = compiled_frames.Known(
        known_U,
        median_U,
        median_U * np.exp(-1.0),
        3.0 * median_U,
        profile.bit_change_P[row_U],
        np.ascontiguousarray(profile.byte_min_PB[row_U]),
        np.ascontiguousarray(profile.byte_max_PB[row_U]),
        profile.dlc_mask_P[row_U].astype(np.int64),
    )
    n = len(stream)
    flags = {name: np.empty(n, bool) for name in ("known", "timed", "early", "late", "compared", "dlc_new")}
    reals = {name: np.empty(n) for name in ("log_ratio", "deviation")}
    whole = {name: np.empty(n, np.uint8) for name in ("outside", "bytes")}
    out = compiled_frames.Related(**flags, **reals, **whole)
    s = stream

    def work(a: int, b: int) -> None:
        compiled_frames.relate(
            *(a, b, ids, s.code_n, s.dt_n, s.change_n, s.data_n8, s.size_n, s.dlc_n),
            *(_DLC_CODE, MIN_TIME_S, LOG_CLIP, out),
        )

    _in_parts(work, n, threads)
    return Relative(
        profile=profile,
        known_U=known_U,
        median_U=median_U,
        **{f"{name}_n": values for name, values in out._asdict().items()},
    )


def unrelated(stream: Stream, profile: Profile, known_U: Bool) -> Relative:
    """What ``relate`` gives if the profile knows none of the capture's IDs."""
    n = len(stream)
    no, zero, none = np.zeros(n, bool), np.zeros(n), np.zeros(n, np.uint8)
    return Relative(
        profile=profile,
        known_n=no,
        known_U=known_U,
        median_U=np.ones(len(stream.key_U)),
        timed_n=no,
        log_ratio_n=zero,
        early_n=no,
        late_n=no,
        compared_n=no,
        deviation_n=zero,
        outside_n=none,
        bytes_n=none,
        dlc_new_n=no,
    )
