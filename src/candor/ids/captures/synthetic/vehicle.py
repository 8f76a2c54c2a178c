"""A car's message set, drawn from a seed: its IDs, periods, layouts, clock and habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from candor.ids.captures.synthetic.messages import (
    Checksum,
    Constant,
    Counter,
    Field,
    Message,
    Multi,
    Physical,
)

#: Messages every car has: role, period in s, signals they carry.
_ROLES: Final[tuple[tuple[str, float, tuple[str, ...]], ...]] = (
    ("rpm", 0.010, ("rpm", "throttle")),
    ("steering", 0.010, ("steering", "yaw")),
    ("speed", 0.020, ("speed",)),
    ("wheels", 0.020, ("wheel_left", "wheel_right")),
    ("gear", 0.020, ("gear",)),
    ("brake", 0.020, ("brake",)),
    ("coolant", 1.000, ("coolant",)),
    ("body", 0.0, ()),
)
#: Periods of the other messages, in turn.
_PERIODS_S: Final = (0.050, 0.100, 0.100, 0.200, 0.050, 0.500, 0.100, 0.200, 0.050, 1.000, 0.100, 0.0)
_MIN_ID, _MAX_ID = 0x050, 0x6FF
#: IDs that all cars use, with contents of their own: standards make some collide.
_SHARED_IDS: Final = (0x2C0, 0x545)
_SIGNALS: Final = ("speed", "rpm", "throttle", "steering", "yaw", "coolant", "fuel", "battery")

#: Fewest messages a car can have: every role, and the IDs shared by all cars.
MIN_MESSAGES: Final = len(_ROLES) + len(_SHARED_IDS)


@dataclass(frozen=True)
class Vehicle:
    """A car. ``drift`` is the relative error of its clock; a period of 10 ms lasts ``10 ms * (1 + drift)``."""

    name: str
    messages: tuple[Message, ...]
    drift: float

    def role(self, name: str) -> Message:
        """The message with that role."""
        return next(message for message in self.messages if message.role == name)


def fleet(count: int, ids_per_vehicle: int, rng: np.random.Generator) -> tuple[Vehicle, ...]:
    """``count`` cars whose IDs differ but for two shared ones. Every second car has one 29-bit ID."""
    pool = np.setdiff1d(np.arange(_MIN_ID, _MAX_ID), _SHARED_IDS)
    own = ids_per_vehicle - len(_SHARED_IDS)
    if own * count > len(pool):
        own_ids = [rng.choice(pool, own, replace=False) for _ in range(count)]
    else:
        own_ids = list(rng.choice(pool, own * count, replace=False).reshape(count, own))
    return tuple(_vehicle(i, ids, rng) for i, ids in enumerate(own_ids))


def vehicle_name(index: int) -> str:
    """car_a, car_b, ..., car_z, car_26, ..."""
    return f"car_{chr(ord('a') + index)}" if index < 26 else f"car_{index}"


def _vehicle(index: int, own_ids: np.ndarray, rng: np.random.Generator) -> Vehicle:
    ids = sorted([*own_ids.tolist(), *_SHARED_IDS])
    others = [("", _PERIODS_S[(i + index) % len(_PERIODS_S)], ()) for i in range(len(ids) - len(_ROLES))]
    # Designers give urgent messages low IDs; events come between, for a key press must not wait.
    plans = sorted([*_ROLES, *others], key=lambda plan: (plan[1] or 0.03) * rng.uniform(0.6, 1.6))
    messages = [
        _message(i, role, period, signals, rng) for i, (role, period, signals) in zip(ids, plans, strict=True)
    ]
    if index % 2:
        last = messages[-1]
        messages[-1] = Message(
            0x18FE_F100 + index, last.dlc, last.period_s, last.jitter_s, last.fields, last.role
        )
    return Vehicle(vehicle_name(index), tuple(messages), float(rng.normal(0.0, 2e-4)))


def _message(
    id_: int, role: str, period_s: float, signals: tuple[str, ...], rng: np.random.Generator
) -> Message:
    """Lay out signals, then counter and checksum where the message is a fast one, then status and constant bytes."""
    fast = 0.0 < period_s <= 0.020
    dlc = 8 if fast or rng.random() < 0.7 else int(rng.integers(2, 8))
    fields: list[Field] = []
    free = list(range(dlc))
    carried = signals or tuple(rng.choice(_SIGNALS, int(rng.integers(0, 3)), replace=False))
    for signal in carried:
        width = 1 if signal == "gear" or len(free) < 4 else 2
        fields.append(Physical(free[0], width, str(signal)))
        free = free[width:]
    protected = fast or (dlc == 8 and rng.random() < 0.3)
    if protected:
        kind: Literal["crc8", "xor"] = "crc8" if rng.random() < 0.5 else "xor"
        fields += [Counter(free.pop(), 16 if rng.random() < 0.7 else 256), Checksum(free.pop(), kind)]
    for byte in free:
        if rng.random() < 0.3:
            count = int(rng.integers(2, 5))
            values = tuple(int(v) for v in rng.integers(0, 256, count))
            fields.append(Multi(byte, values, int(rng.integers(1, 40))))
        else:
            fields.append(Constant(byte, int(rng.choice([0, 0, 0xFF, int(rng.integers(0, 256))]))))
    jitter_s = min(0.02 * period_s, 4e-4) * float(rng.uniform(0.3, 1.0))
    return Message(int(id_), dlc, period_s, jitter_s, tuple(fields), role)
