"""All windows of a capture, a bounded number at a time, several blocks at once: of frames, and of flows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from candor.ids.graphs.kernels import I64, build_ranges
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.stream import Relative, Stream
from candor.learn.reuse import BufferPool, Buffers

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

    See ``in_order`` for threads and memory.
    """
    start_G, stop_G = ranges

    def build(block: slice, buffers: Buffers) -> PackedGraphs:
        return build_ranges(
            *(stream, relative, start_G[block], stop_G[block]),
            min_attack_frames=min_attack_frames,
            buffers=buffers,
        )

    return in_order(cut(stop_G - start_G, BLOCK_ENTRIES), build, threads)


def in_order(
    cuts: list[int], build: Callable[[slice, Buffers], PackedGraphs], threads: int
) -> Iterator[tuple[int, PackedGraphs]]:
    """``build`` on each block of windows between two cuts; its results in order, with the first window of each.

    A compiled pass releases the GIL, so ``threads`` blocks are built at once. At most ``threads`` + 1 blocks exist at a
    time, whatever the capture's length; the memory of a block is used again once nobody refers to its arrays.
    """
    # Fresh memory for every block is new pages from the system, which threads wait for one after the other: of 117 ns a
    # frame in two threads the system took 15 here, now 1 to 3 (6 and 0.5 in one thread).
    pool = BufferPool(threads + 2)

    def one(first: int, last: int) -> PackedGraphs:
        buffers = pool.take()
        graphs = build(slice(first, last), buffers)
        pool.give(buffers)
        return graphs

    if threads <= 1 or len(cuts) <= 2:
        for first, last in zip(cuts[:-1], cuts[1:], strict=True):
            yield first, one(first, last)
        return
    with ThreadPoolExecutor(threads) as workers:
        waiting: deque[tuple[int, Future[PackedGraphs]]] = deque()
        for first, last in zip(cuts[:-1], cuts[1:], strict=True):
            if len(waiting) > threads:
                at, built = waiting.popleft()
                yield at, built.result()
            waiting.append((first, workers.submit(one, first, last)))
        while waiting:
            at, built = waiting.popleft()
            yield at, built.result()


def cut(width_G: I64, entries: int) -> list[int]:
    """Borders of blocks of about ``entries`` entries (window × event), at least one window each."""
    total = np.cumsum(width_G)
    if not len(total):
        return [0]
    borders = np.searchsorted(total, np.arange(entries, int(total[-1]), entries))
    return [int(border) for border in np.unique(np.r_[0, borders, len(total)])]
