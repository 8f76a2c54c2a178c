"""Per-frame quantities of one capture, computed once and reduced by every window that covers the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import EXTENDED, REMOTE, FrameArrays, rows, without_errors
from candor.ids.graphs import compiled_frames
from candor.ids.graphs.features import LOG_CLIP
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.vocabulary import EXTENDED_BIT
from candor.learn.reuse import Buffers

# n frames, U distinct IDs of the capture, 8 payload bytes

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

#: Shortest time taken seriously, s: timestamps have µs at best, and logarithms need something above 0.
MIN_TIME_S = 1e-6

_CONSTANTS = compiled_frames.Constants(
    extended=EXTENDED,
    extended_bit=EXTENDED_BIT,
    remote=REMOTE,
    log_88=np.log(np.maximum(np.arange(9), 1)[:, None] / np.maximum(np.arange(9), 1)),
    payload=np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64),
    dlc_code=dlc_code(np.arange(65, dtype=np.uint8)).astype(np.int64),
    min_time=MIN_TIME_S,
    clip=LOG_CLIP,
)


@dataclass(frozen=True)
class Stream:
    """Frames of one capture or of a piece of it, error frames left out, with what does not depend on a profile.

    Attributes:
        t_n: s since the capture's first frame.
        key_U: u32 distinct ID keys, ascending as ``prepare`` gives them. code_n: index of each frame's key.
        word_n: u64, the first 8 payload bytes as recorded, the first lowest.
        dlc_n, y_n, flags_n: as in FrameArrays. attack_n: index into attack_names, −1 benign.
        dt_n: s since the previous frame of the same ID, NaN for the first. May be negative where time runs backwards.
        change_n: share of payload bits changed since that frame, NaN unless both carry a payload.
        num_errors: error frames left out.
        has_data_n: False for remote frames, which carry no payload.
        data_n8: the first 8 payload bytes, what is behind the payload 0. size_n: payload bytes looked at, 0..8.
        entropy_n: entropy of the byte values within the payload / ln(size), 0 below two bytes.
    """

    t_n: F64
    key_U: npt.NDArray[np.uint32]
    code_n: npt.NDArray[np.uint32]
    word_n: npt.NDArray[np.uint64]
    dlc_n: npt.NDArray[np.uint8]
    flags_n: npt.NDArray[np.uint8]
    y_n: npt.NDArray[np.uint8]
    attack_n: npt.NDArray[np.int16]
    attack_names: tuple[str, ...]
    dt_n: F64
    change_n: F32
    num_errors: int = 0

    def __len__(self) -> int:
        return len(self.t_n)

    @cached_property
    def columns(self) -> compiled_frames.Columns:
        """What compiled passes read."""
        return compiled_frames.Columns(
            self.code_n, self.word_n, self.dlc_n, self.flags_n, self.dt_n, self.change_n
        )

    @cached_property
    def has_data_n(self) -> Bool:
        has_data_n: Bool = (self.flags_n & REMOTE) == 0
        return has_data_n

    @cached_property
    def _payloads(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8], F32]:
        n = len(self)
        found = np.empty(n, np.uint64), np.empty(n, np.uint8), np.empty(n, np.float32)
        compiled_frames.payloads(self.columns, _CONSTANTS, *found)
        return found

    def tail(self, number: int) -> compiled_frames.Compared:
        """What was compared of the last ``number`` frames."""
        last = slice(len(self) - number, None)
        return compiled_frames.Compared(self.code_n[last], self.dt_n[last], self.change_n[last])

    data_n8 = property(lambda self: self._payloads[0].view(np.uint8).reshape(len(self), 8))
    size_n = property(lambda self: self._payloads[1])
    entropy_n = property(lambda self: self._payloads[2])


class Numbering:
    """IDs of one capture numbered as they appear, and the latest frame of each: what a frame needs of the past."""

    def __init__(self) -> None:
        self._direct = np.full(compiled_frames.DIRECT, -1, np.int32)
        self._table = np.full(4 * compiled_frames.DIRECT, -1, np.int32)
        self._latest = compiled_frames.Latest(
            *(
                np.empty(compiled_frames.DIRECT, dtype)
                for dtype in (np.uint32, np.float64, np.uint64, np.int8)
            )
        )
        self._used = 0

    @property
    def key_U(self) -> npt.NDArray[np.uint32]:
        """Keys so far, by code."""
        keys: npt.NDArray[np.uint32] = self._latest.key[: self._used]
        return keys

    def go_on(self, frames: compiled_frames.Frames, out: compiled_frames.Compared) -> None:
        """Code, time and bit change of the next frames; releases the GIL."""
        at = 0
        while at < len(out.code):
            self._used, at = compiled_frames.number(
                at, self._used, frames, _CONSTANTS, self._direct, self._table, self._latest, out
            )
            if at < len(out.code):
                self._grow()

    def _grow(self) -> None:
        # A table is a quarter full at most.
        self._table = np.full(2 * len(self._table), -1, np.int32)
        compiled_frames.enter_again(self._table, self._latest.key, self._used)
        self._latest = compiled_frames.Latest(
            *(np.r_[column, np.empty_like(column)] for column in self._latest)
        )


def prepare(frames: FrameArrays, start: int = 0, stop: int | None = None) -> Stream:
    """Per-frame quantities of the bus frames ``[start, stop)``; a frame's past begins at ``start``."""
    bus = without_errors(frames)
    stream = go_on(Numbering(), rows(bus, slice(start, stop)))
    order = np.argsort(stream.key_U)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order))
    return replace(
        stream, key_U=stream.key_U[order], code_n=rank[stream.code_n], num_errors=len(frames) - len(bus)
    )


def go_on(
    numbering: Numbering,
    bus: FrameArrays,
    known: compiled_frames.Compared | None = None,
    into: Buffers | None = None,
) -> Stream:
    """The next bus frames of a capture. The first of them may be numbered already: ``known`` is what was found."""
    n, again = len(bus), len(known.code) if known is not None else 0
    into = into or Buffers()
    out = compiled_frames.Compared(
        into.empty("code", (n,), np.uint32),
        into.empty("dt", (n,), np.float64),
        into.empty("change", (n,), np.float32),
    )
    for column, found in zip(out, known or (), strict=False):
        column[:again] = found
    t, dlc, flags = _own(bus.t), _own(bus.dlc), _own(bus.flags)
    word = _own(bus.data).view("<u8").ravel()
    new = slice(again, None)
    frames = compiled_frames.Frames(t[new], _own(bus.id)[new], flags[new], word[new], dlc[new])
    numbering.go_on(frames, compiled_frames.Compared(*(column[new] for column in out)))
    return Stream(
        t_n=t,
        key_U=numbering.key_U.copy(),
        code_n=out.code,
        word_n=word,
        dlc_n=dlc,
        flags_n=flags,
        y_n=_own(bus.y),
        attack_n=_own(bus.attack_code),
        attack_names=tuple(bus.attack_names),
        dt_n=out.dt,
        change_n=out.change,
    )


def _own(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Writable and contiguous: Numba compiles anew for every other layout."""
    return np.require(values, requirements=["C", "W"])


@dataclass(frozen=True)
class Relative:
    """Per-frame quantities relative to a profile; all 0 or False where the profile does not know the ID.

    They are computed when asked for: by the block while a capture is built (``rows``), so that they never leave the
    processor's cache, and once for all frames where something reads the columns.

    Attributes:
        stream, profile: what is compared.
        known_U, median_U: the profile knows the ID, and its median interval; per distinct ID of the capture (1 s if
            unknown).
        ids: what a frame is held against. usual: medians of the profile's IDs, ascending (P), and Σ 1/median from each of
            them to the largest (P + 1).
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
    usual: tuple[F64, F64]

    def rows(self, a: int, b: int, into: Buffers) -> compiled_frames.Rows:
        """The frames ``[a, b)`` against the profile; releases the GIL."""
        found = compiled_frames.Rows(
            into.empty("word", (b - a,), np.uint64),
            into.empty("has_data", (b - a,), np.bool_),
            into.empty("mark", (b - a, 8), np.uint8),
            into.empty("real", (b - a, 4), np.float32),
        )
        compiled_frames.relate(a, b, self.ids, self.stream.columns, _CONSTANTS, found)
        return found

    @cached_property
    def _all(self) -> compiled_frames.Rows:
        return self.rows(0, len(self.stream), Buffers())

    mark_n8 = property(lambda self: self._all.mark)
    real_n4 = property(lambda self: self._all.real)
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
    # Summed from the largest median down: the small terms first, so that nothing cancels when two sums are subtracted.
    median_P = np.sort(profile.median_interval_s_P)
    rate_from = np.r_[np.cumsum(1.0 / median_P[::-1])[::-1], 0.0]
    return Relative(stream, profile, known_U, median_U, ids, (median_P, rate_from))
