"""Large arrays used again as soon as nobody refers to them."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt


class Buffers:
    """Arrays by name, kept for another use once nobody refers to them."""

    def __init__(self) -> None:
        self._held: dict[str, npt.NDArray[Any]] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of ``shape`` over the memory of the last one of this name; what it holds is not defined."""
        flat = len(shape) == 1
        size = shape[0] if flat else math.prod(shape)
        held = self._held.get(name)
        if held is None or held.size < size or held.dtype != dtype:
            held = self._held[name] = np.empty(size + size // 8, dtype)
        return held[:size] if flat else held[:size].reshape(shape)

    def free(self) -> bool:
        """No tensor or view of any array is alive: they all count as references to the array that owns the memory."""
        # One reference is the dictionary's, one the argument's of the call.
        return all(map((2).__eq__, map(sys.getrefcount, self._held.values())))


class BufferPool:
    """Buffers of a loader or of a builder, of which the free ones are used again.

    A fresh allocation of this size is new pages from the system, at every batch or block.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._buffers: list[Buffers] = []
        self._lock = threading.Lock()

    def take(self) -> Buffers:
        """Buffers that nobody refers to; the caller's until they are given back."""
        with self._lock:
            for at, buffers in enumerate(self._buffers):
                if buffers.free():
                    return self._buffers.pop(at)
        return Buffers()

    def give(self, buffers: Buffers) -> None:
        """Keep buffers into which something was written."""
        with self._lock:
            if len(self._buffers) < self._keep:
                self._buffers.append(buffers)
