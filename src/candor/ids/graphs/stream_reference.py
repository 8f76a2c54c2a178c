"""The readable NumPy way to per-frame quantities, which tests hold the compiled one against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import REMOTE, FrameArrays, bus_frames
from candor.ids.graphs.features import LOG_CLIP
from candor.ids.graphs.profile import Profile, dlc_code
from candor.ids.graphs.stream import MIN_TIME_S, Stream
from candor.ids.graphs.vocabulary import id_key

# n frames, U distinct IDs of the capture, 8 payload bytes

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StreamColumns:
    """What a ``Stream`` says, a column each."""

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
    change_n: npt.NDArray[np.float32]
    entropy_n: npt.NDArray[np.float32]
    num_errors: int

    def __len__(self) -> int:
        return len(self.t_n)


def prepare(frames: FrameArrays, start: int = 0, stop: int | None = None) -> StreamColumns:
    """Per-frame quantities of the bus frames ``[start, stop)``; a frame's past begins at ``start``."""
    rows = bus_frames(frames)
    num_errors = len(frames.t) - len(rows)
    rows = rows[start:stop]
    flags, data, dlc, t = frames.flags[rows], frames.data[rows], frames.dlc[rows], frames.t[rows]
    key_U, code = np.unique(id_key(frames.id[rows], flags), return_inverse=True)
    previous = _previous_of_same(code)
    has_previous = previous >= 0
    has_data = (flags & REMOTE) == 0
    size = np.where(has_data, np.minimum(dlc, 8), 0).astype(np.int64)
    both = has_previous & has_data & has_data[previous]
    change = np.where(both, _bit_change(data, size, previous), np.nan)
    return StreamColumns(
        t_n=t,
        key_U=key_U,
        code_n=code.astype(np.uint32),
        data_n8=np.where(np.arange(8) < size[:, None], data, 0).astype(np.uint8),
        dlc_n=dlc,
        y_n=frames.y[rows],
        attack_n=frames.attack_code[rows],
        attack_names=tuple(frames.attack_names),
        has_data_n=has_data,
        size_n=size.astype(np.uint8),
        dt_n=np.where(has_previous, t - t[previous], np.nan),
        change_n=change.astype(np.float32),
        entropy_n=byte_entropy(data, size).astype(np.float32),
        num_errors=num_errors,
    )


def _previous_of_same(code_n: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the previous frame with the same code, −1 for the first."""
    order = np.argsort(code_n, kind="stable")
    same = code_n[order][1:] == code_n[order][:-1]
    previous = np.full(len(code_n), -1, np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _bit_change(
    data_n8: npt.NDArray[np.uint8], size_n: npt.NDArray[np.int64], previous_n: npt.NDArray[np.int64]
) -> F64:
    flipped = np.bitwise_count(data_n8 ^ data_n8[previous_n]).sum(axis=1)
    bits = 8 * np.maximum(size_n, size_n[previous_n])
    share: F64 = flipped / np.maximum(bits, 1)
    return share


def byte_entropy(data_n8: npt.NDArray[np.uint8], size_n: npt.NDArray[np.int64]) -> F64:
    """Shannon entropy of the byte values within each payload / ln(size): 1 if all bytes differ, 0 if all are equal."""
    inside = np.arange(8) < size_n[:, None]
    total = np.zeros(len(size_n))
    size = np.maximum(size_n, 1)
    for i in range(8):
        twins = ((data_n8 == data_n8[:, i : i + 1]) & inside).sum(axis=1)
        total += np.where(inside[:, i], np.log(np.maximum(twins, 1) / size), 0.0)
    entropy: F64 = np.where(size_n >= 2, -total / size / np.log(np.maximum(size_n, 2)), 0.0)
    return np.abs(entropy)  # −0.0 for constant payloads


@dataclass(frozen=True)
class RelativeColumns:
    """What a ``Relative`` says, a column each."""

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


def relate(stream: Stream | StreamColumns, profile: Profile) -> RelativeColumns:
    """Compare every frame with the profile of its ID."""
    row_U, known_U = profile.lookup(stream.key_U)
    if not known_U.any():
        return unrelated(stream, profile, known_U)
    median_U = np.where(known_U, profile.median_interval_s_P[row_U], 1.0)
    row, known, median = row_U[stream.code_n], known_U[stream.code_n], median_U[stream.code_n]
    timed = known & ~np.isnan(stream.dt_n)
    dt = np.where(timed, stream.dt_n, median)
    compared = known & ~np.isnan(stream.change_n)
    deviation = np.where(compared, stream.change_n - profile.bit_change_P[row], 0.0)
    inside = (np.arange(8) < stream.size_n[:, None]) & known[:, None]
    beyond = (stream.data_n8 < profile.byte_min_PB[row]) | (stream.data_n8 > profile.byte_max_PB[row])
    seen = (profile.dlc_mask_P[row] >> dlc_code(stream.dlc_n)) & np.uint32(1)
    return RelativeColumns(
        profile=profile,
        known_n=known,
        known_U=known_U,
        median_U=median_U,
        timed_n=timed,
        log_ratio_n=np.clip(np.log(np.maximum(dt, MIN_TIME_S) / median), -LOG_CLIP, LOG_CLIP),
        early_n=timed & (dt < median * np.exp(-1.0)),
        late_n=timed & (dt > 3.0 * median),
        compared_n=compared,
        deviation_n=deviation,
        outside_n=(beyond & inside).sum(axis=1, dtype=np.uint8),
        bytes_n=inside.sum(axis=1, dtype=np.uint8),
        dlc_new_n=known & (seen == 0),
    )


def unrelated(stream: Stream | StreamColumns, profile: Profile, known_U: Bool) -> RelativeColumns:
    """What ``relate`` gives if the profile knows none of the capture's IDs."""
    n = len(stream)
    no, zero, none = np.zeros(n, bool), np.zeros(n), np.zeros(n, np.uint8)
    return RelativeColumns(
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
