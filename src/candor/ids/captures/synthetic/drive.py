"""The common cause behind a car's messages: one drive, sampled as physical signals that depend on each other.

Legend: m samples of the drive's grid (one each 10 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_STEP_S: Final = 0.01

#: Signal → (lowest, highest) value a car's messages can carry. Units: km/h, 1/min, gear, %, degree, degree/s, °C, %, V.
RANGES: Final[dict[str, tuple[float, float]]] = {
    "speed": (0.0, 160.0),
    "rpm": (0.0, 7000.0),
    "gear": (0.0, 7.0),
    "throttle": (0.0, 100.0),
    "brake": (0.0, 100.0),
    "steering": (-360.0, 360.0),
    "yaw": (-50.0, 50.0),
    "wheel_left": (0.0, 160.0),
    "wheel_right": (0.0, 160.0),
    "coolant": (-40.0, 130.0),
    "fuel": (0.0, 100.0),
    "battery": (8.0, 16.0),
}
#: Signals that jump instead of gliding.
_STEPPED: Final = {"gear"}
#: Upshift speeds in km/h (0 is standing) and engine turns per minute per km/h in each gear.
_SHIFT_KMH: Final = np.array([0.5, 18.0, 34.0, 52.0, 72.0, 95.0])
_TURNS_PER_KMH: Final = np.array([0.0, 115.0, 72.0, 50.0, 38.0, 30.0, 25.0])
_IDLE_RPM: Final = 780.0


@dataclass(frozen=True)
class Drive:
    """Signals over time; ``values[name]`` is f64[m] on ``grid_s``."""

    grid_s: FloatArray
    values: dict[str, FloatArray]

    def at(self, name: str, t: FloatArray) -> FloatArray:
        """The signal at times ``t`` (s), interpolated; a stepped one keeps its last value."""
        if name in _STEPPED:
            index = np.clip(np.searchsorted(self.grid_s, t, side="right") - 1, 0, len(self.grid_s) - 1)
            return self.values[name][index]
        return np.interp(t, self.grid_s, self.values[name])


def drive(duration_s: float, rng: np.random.Generator) -> Drive:
    """A drive through town and country: changing speed, and what follows from it."""
    grid = np.arange(0.0, duration_s + 1.0, _STEP_S)
    speed = np.maximum(_wander(grid, 6.0, (0.0, 110.0), rng), 0.0)
    steering = _wander(grid, 4.0, (-90.0, 90.0), rng) * (1.0 - 0.6 * speed / 160.0)
    acceleration = np.gradient(speed, _STEP_S)
    gear = np.digitize(speed, _SHIFT_KMH).astype(np.float64)
    turns = np.maximum(_IDLE_RPM, speed * _TURNS_PER_KMH[gear.astype(np.int64)])
    bend = 1e-3 * steering
    values = {
        "speed": speed,
        "rpm": _smooth(turns, 0.3) + rng.normal(0.0, 6.0, len(grid)),
        "gear": gear,
        "throttle": np.clip(8.0 + 0.25 * speed + 6.0 * np.maximum(acceleration, 0.0), 0.0, 100.0),
        "brake": np.clip(-7.0 * np.minimum(acceleration, 0.0) - 8.0, 0.0, 100.0),
        "steering": steering,
        "yaw": np.clip(steering * speed / 400.0, -50.0, 50.0),
        "wheel_left": speed * (1.0 - bend) + rng.normal(0.0, 0.05, len(grid)),
        "wheel_right": speed * (1.0 + bend) + rng.normal(0.0, 0.05, len(grid)),
        "coolant": 88.0 - 30.0 * np.exp(-grid / 200.0) + rng.normal(0.0, 0.1, len(grid)),
        "fuel": rng.uniform(20.0, 90.0) - 1e-3 * grid,
        "battery": 13.9 + rng.normal(0.0, 0.03, len(grid)),
    }
    return Drive(grid, values)


def _wander(
    grid: FloatArray, every_s: float, bounds: tuple[float, float], rng: np.random.Generator
) -> FloatArray:
    """Random targets about ``every_s`` apart, joined smoothly."""
    count = int(grid[-1] / every_s) + 3
    times = np.cumsum(rng.uniform(0.5, 1.5, count) * every_s) - every_s
    return _smooth(np.interp(grid, times, rng.uniform(*bounds, count)), 1.5)


def _smooth(values: FloatArray, width_s: float) -> FloatArray:
    kernel = np.hanning(max(int(width_s / _STEP_S), 3))
    padded = np.pad(values, len(kernel) // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="same")[len(kernel) // 2 :][: len(values)]
