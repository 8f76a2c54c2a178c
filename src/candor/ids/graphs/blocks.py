"""All windows of a capture, a bounded number at a time, several blocks at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from candor.ids.graphs.kernels import I64, build_ranges
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.stream import Relative, Stream
from candor.learn.reuse import BufferPool

#: Entries (window × frame) of a block. Its graphs take 60 to 170 B per entry, so some 8 MB. Speed hardly depends on it
#: (2^14 to 2^19 measured alike); memory does, and how evenly threads are loaded.
BLOCK_ENTRIES = 1 << 16


def build_blocks(
    stream: Stream,
    relative: Relative,
    ranges: tuple[I64, I64],
    *,
    min_attack_frames: int = 1,
    threads: int = 1,
) -> Iterator[tuple[int, PackedGraphs]]:
    """Graphs of the windows ``[start, stop)`` in order, with the ordinal of the first of each block.

    The compiled pass releases the GIL, so ``threads`` blocks are built at once. At most ``threads`` + 1 blocks exist at
    a time, whatever the capture's length; the memory of a block is used again once nobody refers to its arrays.
    """
    start_G, stop_G = ranges
    cuts = _cuts(stop_G - start_G)

    # Fresh memory for every block is new pages from the system, which threads wait for one after the other: of 117 ns a
    # frame in two threads the system took 15 here, now 1 to 3 (6 and 0.5 in one thread).
    pool = BufferPool(threads + 2)

    def build(first: int, last: int) -> PackedGraphs:
        block, buffers = slice(first, last), pool.take()
        graphs = build_ranges(
            *(stream, relative, start_G[block], stop_G[block]),
            min_attack_frames=min_attack_frames,
            buffers=buffers,
        )
        pool.give(buffers)
        return graphs

    if threads <= 1 or len(cuts) <= 2:
        for first, last in zip(cuts[:-1], cuts[1:], strict=True):
            yield first, build(first, last)
        return
    with ThreadPoolExecutor(threads) as workers:
        waiting: deque[tuple[int, Future[PackedGraphs]]] = deque()
        for first, last in zip(cuts[:-1], cuts[1:], strict=True):
            if len(waiting) > threads:
                at, built = waiting.popleft()
                yield at, built.result()
            waiting.append((first, workers.submit(build, first, last)))
        while waiting:
            at, built = waiting.popleft()
            yield at, built.result()


def _cuts(width_G: I64) -> list[int]:
    """Borders of blocks of about BLOCK_ENTRIES entries, at least one window each."""
    total = np.cumsum(width_G)
    if not len(total):
        return [0]
    borders = np.searchsorted(total, np.arange(BLOCK_ENTRIES, int(total[-1]), BLOCK_ENTRIES))
    return [int(cut) for cut in np.unique(np.r_[0, borders, len(total)])]
