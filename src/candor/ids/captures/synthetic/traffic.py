"""Frames that want to be sent: a car's benign traffic, before the bus decides who goes first.

Legend: n frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.synthetic.drive import Drive
from candor.ids.captures.synthetic.messages import Message, encode
from candor.ids.captures.synthetic.vehicle import Vehicle

#: An event (a key, a door) is sent this often, this far apart.
_EVENT_REPEATS, _EVENT_SPACING_S = 3, 0.020
#: Mean time between events of one message.
_EVENT_EVERY_S: Final = 4.0


@dataclass(frozen=True)
class Traffic:
    """Frames by release time: release_s f64[n], id u32[n], data u8[n, 8], dlc u8[n], label u8[n] (1 injected)."""

    release_s: NDArray[np.float64]
    id: NDArray[np.uint32]
    data: NDArray[np.uint8]
    dlc: NDArray[np.uint8]
    label: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.release_s)

    def where(self, mask: NDArray[np.bool_]) -> Traffic:
        """The frames that ``mask`` [n] selects."""
        return Traffic(self.release_s[mask], self.id[mask], self.data[mask], self.dlc[mask], self.label[mask])

    @staticmethod
    def join(parts: list[Traffic]) -> Traffic:
        """All frames of ``parts``, not sorted."""
        return Traffic(
            np.concatenate([p.release_s for p in parts]),
            np.concatenate([p.id for p in parts]),
            np.concatenate([p.data for p in parts]),
            np.concatenate([p.dlc for p in parts]),
            np.concatenate([p.label for p in parts]),
        )


def frames_of(
    message: Message, release_s: NDArray[np.float64], data: NDArray[np.uint8], *, label: int = 0
) -> Traffic:
    """Frames of one message at given times."""
    n = len(release_s)
    return Traffic(
        release_s,
        np.full(n, message.id, dtype=np.uint32),
        data,
        np.full(n, message.dlc, dtype=np.uint8),
        np.full(n, label, dtype=np.uint8),
    )


def benign(vehicle: Vehicle, drive: Drive, duration_s: float, rng: np.random.Generator) -> Traffic:
    """Everything the car's own control units want to send during ``duration_s``."""
    parts = []
    for message in vehicle.messages:
        release = (
            _periodic(message, vehicle.drift, duration_s, rng)
            if message.period_s
            else _events(duration_s, rng)
        )
        release = np.sort(release[(release >= 0.0) & (release < duration_s)])
        start = int(rng.integers(0, 256))
        data = encode(message, np.arange(len(release)) + start, release, drive)
        parts.append(frames_of(message, release, data))
    return Traffic.join(parts)


def _periodic(
    message: Message, drift: float, duration_s: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    period = message.period_s * (1.0 + drift)
    k = np.arange(int(duration_s / period) + 2)
    jitter = np.clip(rng.normal(0.0, message.jitter_s, len(k)), -0.3 * period, 0.3 * period)
    return rng.uniform(0.0, period) + k * period + jitter


def _events(duration_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(rng.poisson(duration_s / _EVENT_EVERY_S)) + 1
    starts = rng.uniform(0.0, duration_s, count)
    repeats = np.arange(_EVENT_REPEATS) * _EVENT_SPACING_S
    return np.asarray((starts[:, None] + repeats[None, :]).ravel())
