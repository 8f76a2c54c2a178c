"""Seven attacks on a car's traffic. Each takes the benign frames and the bursts, and gives the frames on offer.

Legend: n frames, bursts are (start, end) in s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.frames import MAX_STANDARD_ID
from candor.ids.captures.synthetic.drive import RANGES, Drive
from candor.ids.captures.synthetic.messages import Message, Physical, encode, physical, put, seal
from candor.ids.captures.synthetic.traffic import Traffic, frames_of
from candor.ids.captures.synthetic.vehicle import Vehicle

FloatArray = NDArray[np.float64]
Burst = tuple[float, float]

#: Time between injected frames, in s.
_FLOOD_EVERY_S, _FUZZ_EVERY_S, _SPOOF_EVERY_S = 0.0005, 0.002, 0.002
#: A replayed function consists of this many IDs.
_REPLAYED_IDS = 8
#: Recording for a replay starts here, before the first burst.
_RECORD_FROM_S = 1.0


@dataclass(frozen=True)
class Scene:
    """What an attacker finds: the car, its drive and its traffic, and when to strike."""

    vehicle: Vehicle
    drive: Drive
    traffic: Traffic
    bursts: Sequence[Burst]


Attack = Callable[[Scene, np.random.Generator], Traffic]


def flooding(scene: Scene, rng: np.random.Generator) -> Traffic:
    """ID 0x000 wins every arbitration; sent so often that others wait."""
    t = _ticks(scene.bursts, _FLOOD_EVERY_S, 0.02, rng)
    message = Message(0, 8, _FLOOD_EVERY_S, 0.0, ())
    return Traffic.join([scene.traffic, frames_of(message, t, np.zeros((len(t), 8), np.uint8), label=1)])


def fuzzing(scene: Scene, rng: np.random.Generator) -> Traffic:
    """Random identifiers, random payloads."""
    t = _ticks(scene.bursts, _FUZZ_EVERY_S, 0.2, rng)
    n = len(t)
    injected = Traffic(
        t,
        rng.integers(0, MAX_STANDARD_ID + 1, n).astype(np.uint32),
        rng.integers(0, 256, (n, 8)).astype(np.uint8),
        np.full(n, 8, dtype=np.uint8),
        np.ones(n, dtype=np.uint8),
    )
    return Traffic.join([scene.traffic, injected])


def spoofing(role: str) -> Attack:
    """A known ID is sent at a high rate with one forged value, beside the car's own frames.

    Half of the attackers know the checksum; none can follow the counter while the sender still counts.
    """

    def attack(scene: Scene, rng: np.random.Generator) -> Traffic:
        message = scene.vehicle.role(role)
        field = physical(message)
        t = _ticks(scene.bursts, _SPOOF_EVERY_S, 0.05, rng)
        data = encode(message, np.full(len(t), int(rng.integers(0, 256))), t, scene.drive)
        put(data, field, np.full(len(t), _forged(field, rng)))
        if rng.random() < 0.5:
            data = seal(message, data)
        return Traffic.join([scene.traffic, frames_of(message, t, data, label=1)])

    return attack


def replay(scene: Scene, rng: np.random.Generator) -> Traffic:
    """Frames of several IDs, recorded earlier, are sent again beside the car's own."""
    ids = np.unique(scene.traffic.id)
    chosen = rng.choice(ids, min(_REPLAYED_IDS, len(ids)), replace=False)
    # At least one fast message, or a burst may hold next to nothing.
    chosen = np.append(chosen, [scene.vehicle.role("rpm").id, scene.vehicle.role("speed").id]).astype(
        np.uint32
    )
    parts = [scene.traffic]
    for start, end in scene.bursts:
        recorded = _during(scene.traffic.release_s, [(_RECORD_FROM_S, _RECORD_FROM_S + end - start)])
        part = scene.traffic.where(recorded & np.isin(scene.traffic.id, chosen))
        shifted = part.release_s - _RECORD_FROM_S + start
        parts.append(Traffic(shifted, part.id, part.data, part.dlc, np.ones_like(part.label)))
    return Traffic.join(parts)


def suppress(scene: Scene, rng: np.random.Generator) -> Traffic:
    """One control unit falls silent: frames are missing, and no frame is an attack frame."""
    message = scene.vehicle.role("steering")
    gone = (scene.traffic.id == message.id) & _during(scene.traffic.release_s, scene.bursts)
    return scene.traffic.where(~gone)


def masquerade(scene: Scene, rng: np.random.Generator) -> Traffic:
    """The speed sender is silenced, and another unit sends in its place: same times, right counter and checksum."""
    message = scene.vehicle.role("speed")
    field = physical(message)
    taken = (scene.traffic.id == message.id) & _during(scene.traffic.release_s, scene.bursts)
    legitimate = scene.traffic.where(taken)
    t, data = legitimate.release_s, legitimate.data.copy()
    # The forged speed leaves the true one over the first second of a burst: a jump would be plain to see.
    since = t - np.array([start for start, _ in scene.bursts])[_burst_of(t, scene.bursts)]
    offset = rng.uniform(30.0, 60.0) * np.clip(since, 0.0, 1.0)
    put(data, field, scene.drive.at(field.signal, t) + offset)
    late = np.abs(rng.normal(0.0, 2e-4, len(t)))
    forged = frames_of(message, t + late, seal(message, data), label=1)
    return Traffic.join([scene.traffic.where(~taken), forged])


ATTACKS: Final[dict[str, Attack]] = {
    "flooding": flooding,
    "fuzzing": fuzzing,
    "spoofing_gear": spoofing("gear"),
    "spoofing_rpm": spoofing("rpm"),
    "replay": replay,
    "suppress": suppress,
    "masquerade": masquerade,
}


def _ticks(bursts: Sequence[Burst], every_s: float, jitter: float, rng: np.random.Generator) -> FloatArray:
    """Injection times in all bursts, ``every_s`` apart with a relative ``jitter``."""
    ticks = [np.arange(start, end, every_s) for start, end in bursts]
    t = np.concatenate(ticks) if ticks else np.empty(0)
    return np.asarray(t + rng.uniform(0.0, jitter, len(t)) * every_s)


def _during(t: FloatArray, bursts: Sequence[Burst]) -> NDArray[np.bool_]:
    inside = np.zeros(len(t), dtype=bool)
    for start, end in bursts:
        inside |= (t >= start) & (t < end)
    return inside


def _burst_of(t: FloatArray, bursts: Sequence[Burst]) -> NDArray[np.int64]:
    """Index [n] of the burst that began last before each time."""
    return np.maximum(np.searchsorted([start for start, _ in bursts], t, side="right") - 1, 0)


def _forged(field: Physical, rng: np.random.Generator) -> float:
    """A value in the range's upper half: rarely what the car does just then. A gear is a whole number."""
    low, high = RANGES[field.signal]
    value = low + (high - low) * rng.uniform(0.55, 0.95)
    return float(round(value) if field.signal == "gear" else value)
