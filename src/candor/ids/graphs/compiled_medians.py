"""Compiled passes over values of groups. Called through ``medians``.

What they need of other files is handed in: Numba's cache notices a change of this file only.
"""

from __future__ import annotations

from typing import Any

from numba import njit

# n values of a part, as the bits of floats that are not negative; P groups, A of them counted, K buckets

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "_nrt": False}
_jit = njit(**_OPTIONS)


@_jit
def extend(code_n, bits_n, low_P, high_P):  # type: ignore[no-untyped-def]
    """Lower ``low_P`` and raise ``high_P`` to the values of each group."""
    for i in range(len(code_n)):
        p, bits = code_n[i], bits_n[i]
        low_P[p] = min(low_P[p], bits)
        high_P[p] = max(high_P[p], bits)


@_jit
def count(code_n, bits_n, row_P, low_A, high_A, shift_A, count_AK):  # type: ignore[no-untyped-def]
    """Count the values of each group's range by bucket; ``row_P`` is −1 for groups that are not counted."""
    for i in range(len(code_n)):
        a, bits = row_P[code_n[i]], bits_n[i]
        if a >= 0 and low_A[a] <= bits <= high_A[a]:
            count_AK[a, (bits - low_A[a]) >> shift_A[a]] += 1


@_jit
def collect(code_n, bits_n, open_P, low_P, high_P, free_P, held, behind_P):  # type: ignore[no-untyped-def]
    """Put the values of open ranges where ``free_P`` says, and lower ``behind_P`` to the smallest above each range."""
    for i in range(len(code_n)):
        p, bits = code_n[i], bits_n[i]
        if bits > high_P[p]:
            behind_P[p] = min(behind_P[p], bits)
        elif open_P[p] and bits >= low_P[p]:
            held[free_P[p]] = bits
            free_P[p] += 1
