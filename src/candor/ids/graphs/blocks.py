"""All windows of a capture, a bounded number at a time, several blocks at once: of frames, and of flows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from candor.ids.captures.frame_file import FrameArray, FrameFile
from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.kernels import I64, build_ranges
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.pieces import MadeT, Piece, pieces
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import Numbering, Relative, go_on, relate
from candor.learn.reuse import BufferPool, Buffers

#: Entries (window × frame) of a block. Its graphs take 60 to 170 B per entry, so some 8 MB. Speed hardly depends on it
#: (2^14 to 2^19 measured alike); memory does, and how evenly threads are loaded.
BLOCK_ENTRIES = 1 << 16


def build_blocks(
    capture: FrameFile | FrameArray,
    profile: Profile,
    ranges: tuple[I64, I64],
    *,
    min_attack_frames: int = 1,
    threads: int = 1,
) -> Iterator[tuple[int, PackedGraphs]]:
    """Graphs of the windows ``[start, stop)`` in order, with the ordinal of the first of each block.

    See ``in_order`` for threads and memory.
    """

    numbering, pool = Numbering(), BufferPool(3)
    seen: list[Relative] = []

    def make(frames: FrameArrays, new: int) -> Relative:
        before = seen.pop() if seen else None
        known = before.stream.tail(len(frames) - new) if before else None
        buffers = pool.take()
        stream = go_on(numbering, frames, known, buffers)
        pool.give(buffers)
        same_ids = before is not None and len(before.stream.key_U) == len(stream.key_U)
        seen.append(replace(before, stream=stream) if before and same_ids else relate(stream, profile))
        return seen[0]

    def build(piece: Piece[Relative], block: slice, buffers: Buffers) -> PackedGraphs:
        return build_ranges(
            *(piece.made.stream, piece.made, piece.start_G[block], piece.stop_G[block]),
            min_attack_frames=min_attack_frames,
            buffers=buffers,
        )

    cut_up = pieces(capture.cursor(), len(capture), ranges, make)
    return in_order(cut_up, build, BLOCK_ENTRIES, threads)


def in_order(
    parts: Iterator[Piece[MadeT]],
    build: Callable[[Piece[MadeT], slice, Buffers], PackedGraphs],
    entries: int,
    threads: int,
) -> Iterator[tuple[int, PackedGraphs]]:
    """``build`` on blocks of some ``entries`` of each part; its results in order, with the first window of each.

    A compiled pass releases the GIL, so ``threads`` blocks are built at once, and the next part is read meanwhile. Two
    parts and ``threads`` + 1 blocks exist at a time, whatever the capture's length; the memory of a block is used again
    once nobody refers to its arrays.
    """
    # Fresh memory for every block is new pages from the system, which threads wait for one after the other: of 117 ns a
    # frame in two threads the system took 15 here, now 1 to 3 (6 and 0.5 in one thread).
    pool = BufferPool(threads + 2)

    def one(part: Piece[MadeT], block: slice) -> PackedGraphs:
        buffers = pool.take()
        graphs = build(part, block, buffers)
        pool.give(buffers)
        return replace(graphs, start_G=graphs.start_G + part.offset)

    if threads <= 1:
        for part in parts:
            for block in _blocks(part, entries):
                yield part.first + block.start, one(part, block)
        return
    with ThreadPoolExecutor(threads) as workers:
        waiting: deque[tuple[int, Future[PackedGraphs]]] = deque()
        coming = workers.submit(next, parts, None)
        while (here := coming.result()) is not None:
            # Before the blocks of this part: whoever waits for the next one would wait behind them.
            coming = workers.submit(next, parts, None)
            for block in _blocks(here, entries):
                if len(waiting) > threads:
                    at, built = waiting.popleft()
                    yield at, built.result()
                waiting.append((here.first + block.start, workers.submit(one, here, block)))
        while waiting:
            at, built = waiting.popleft()
            yield at, built.result()


def _blocks(part: Piece[Any], entries: int) -> Iterator[slice]:
    borders = cut(part.stop_G - part.start_G, entries, fine=part.last)
    return (slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True))


def cut(width_G: I64, entries: int, *, fine: bool = False) -> list[int]:
    """Borders of blocks of about ``entries`` entries (window × event), at least one window each.

    ``fine``: the last two blocks' worth in quarters, so that whichever thread is behind at the end is behind by less.
    Where borders lie depends on the windows alone: the store does not depend on who builds it.
    """
    total = np.cumsum(width_G)
    if not len(total):
        return [0]
    end = int(total[-1])
    coarse = np.arange(0, end - 2 * entries if fine else end, entries)
    quarters = np.arange(coarse[-1] if len(coarse) else 0, end, max(entries // 4, 1)) if fine else coarse
    borders = np.searchsorted(total, np.union1d(coarse, quarters))
    return [int(border) for border in np.unique(np.r_[0, borders, len(total)])]
