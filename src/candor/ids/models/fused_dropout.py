"""Dropout masks on CPU: the very draws of ``Tensor.bernoulli_``, several times as fast.

Torch asks its Mersenne Twister (Matsumoto & Nishimura 1998) for two words per element, one call at a time; here a whole
round of 624 words is made at once, which vectorises. Where torch draws in another way, its own way is taken.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

_jit = njit(nogil=True, cache=True)

#: Words of the generator, and where its saved state holds them: after the seed (8 bytes) come the words left (with the
#: one in hand) and a flag (4 bytes each), the next word's place and the words (8 bytes each).
_WORDS, _LEFT, _NEXT, _STATE = 624, 8, 16, 24
_CHECKED = 4 * _WORDS + 1


def keep_mask(shape: torch.Size, keep: float) -> Tensor:
    """f32 of ``shape``, 1 with probability ``keep``; leaves the default generator as ``bernoulli_`` would."""
    return _draw(shape, keep) if _same_as_torch() else torch.empty(shape).bernoulli_(keep)


def _draw(shape: torch.Size, keep: float) -> Tensor:
    saved, out = torch.get_rng_state(), torch.empty(shape)
    raw = saved.numpy()
    words = raw[_STATE : _STATE + 8 * _WORDS].view(np.uint64)
    state = words.astype(np.uint32)
    # A draw is 53 bits; comparing them as whole numbers is exact.
    at = _fill(
        state, int(raw[_NEXT : _NEXT + 8].view(np.uint64)[0]), _left(raw), math.ceil(keep * 2**53), _flat(out)
    )
    words[:] = state
    raw[_NEXT : _NEXT + 8].view(np.uint64)[0] = at
    raw[_LEFT : _LEFT + 4].view(np.int32)[0] = _WORDS + 1 - at if at else 1
    torch.set_rng_state(saved)
    return out


def _left(raw: Any) -> int:
    return int(raw[_LEFT : _LEFT + 4].view(np.int32)[0])


def _flat(out: Tensor) -> Any:
    return out.view(-1).numpy()


@cache
def _same_as_torch() -> bool:
    """Whether this torch draws and keeps its state as described here; tried once, without a trace."""
    with torch.random.fork_rng(devices=[]):
        for seed, skipped in ((1, 0), (2, 3)):
            results = []
            for draw in (_draw, lambda shape, keep: torch.empty(shape).bernoulli_(keep)):
                torch.manual_seed(seed)
                torch.rand(skipped)
                try:
                    results.append([draw(torch.Size([_CHECKED]), 0.9), torch.rand(5)])
                except (RuntimeError, ValueError, IndexError):  # Another layout.
                    return False
            if not all(torch.equal(a, b) for a, b in zip(*results, strict=True)):
                return False
    return True


@_jit
def _fill(state, at, left, below, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` from the words at ``at``; returns where the next one is."""
    words = np.empty(_WORDS, np.uint32)
    bits, limit = np.uint64((1 << 53) - 1), np.uint64(below)
    if left == 1:  # A generator just seeded has no word in hand, wherever it points to.
        at = _WORDS
    done, high, waiting = 0, np.uint64(0), False
    while done < len(out):
        if at == _WORDS:
            _twist(state)
            at = 0
        held = _WORDS - at
        for i in range(held):
            y = state[at + i]
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            words[i] = y ^ (y >> np.uint32(18))
        used = 0
        if waiting:
            out[done] = ((high << np.uint64(32)) | np.uint64(words[0])) & bits < limit
            done, used, waiting = done + 1, 1, False
        pairs = min((held - used) // 2, len(out) - done)
        for i in range(pairs):
            x = (np.uint64(words[used + 2 * i]) << np.uint64(32)) | np.uint64(words[used + 2 * i + 1])
            out[done + i] = np.float32(1.0) if x & bits < limit else np.float32(0.0)
        done, used = done + pairs, used + 2 * pairs
        if used < held and done < len(out):
            high, waiting, used = np.uint64(words[used]), True, used + 1
        at += used
    return at


@_jit
def _twist(state):  # type: ignore[no-untyped-def]
    for first, last, shift in ((0, 227, 397), (227, 623, -227), (623, 624, -227)):
        for i in range(first, last):
            y = (state[i] & np.uint32(0x80000000)) | (state[(i + 1) % _WORDS] & np.uint32(0x7FFFFFFF))
            mixed = (y >> np.uint32(1)) ^ (np.uint32(0x9908B0DF) if y & np.uint32(1) else np.uint32(0))
            state[i] = state[i + shift] ^ mixed
