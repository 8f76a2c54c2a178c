"""From flagged windows to alarms: k of n, hysteresis, cooldown. What an operator hears, and how late.

An alarm is raised at the window that completes ``raise_windows`` flagged ones among the last ``of_windows`` of its capture,
stays on until at most ``fall_windows`` of the last ``of_windows`` are flagged, and none is raised for ``cooldown_s`` after
one fell. A gap in a capture's windows starts anew. The delay of all this is part of the time to alarm.

Legend: n windows of one or more captures, in stream order within each.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from candor.ids.config import AlarmConfig

Bools = NDArray[np.bool_]


@njit(cache=True)
def _alarmed(flagged, neighbour, t1, raise_windows, of_windows, fall_windows, cooldown_s, out):  # type: ignore[no-untyped-def]
    on, hits, first, fell_s = False, 0, 0, -np.inf
    for i in range(len(flagged)):
        if not neighbour[i]:
            on, hits, first, fell_s = False, 0, i, -np.inf
        hits += flagged[i]
        if i - first >= of_windows:
            hits -= flagged[i - of_windows]
        if on and hits <= fall_windows:
            on, fell_s = False, t1[i]
        elif not on and hits >= raise_windows and t1[i] - fell_s >= cooldown_s:
            on = True
        out[i] = on


def alarmed(flagged_n: Bools, neighbour_n: Bools, t1_n: NDArray[np.float64], config: AlarmConfig) -> Bools:
    """Windows at whose end an alarm is on: [n].

    Args:
        flagged_n: score at or above the threshold. neighbour_n: the window continues the one before it.
        t1_n: end of each window, s of its capture.
    """
    if config.is_plain:
        return flagged_n
    out = np.zeros(len(flagged_n), np.bool_)
    _alarmed(
        np.ascontiguousarray(flagged_n, np.bool_),
        np.ascontiguousarray(neighbour_n, np.bool_),
        np.ascontiguousarray(t1_n, np.float64),
        config.raise_windows,
        config.of_windows,
        config.fall_windows,
        config.cooldown_s,
        out,
    )
    return out
