"""The loader: batches gathered straight from the source's arrays into reused buffers, in a thread, ahead of the step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from candor.learn.batching import ArraySampler, BatchSampler, DirectSource, GraphBatch, GraphSource, Positions
from candor.learn.reuse import BufferPool


class _Pinned:
    """New pinned arrays for each batch. Torch's host allocator reuses them when the copies to the device are done."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        pinned: npt.NDArray[Any] = torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        return pinned


class GraphLoader:
    """Iterates GraphBatches of ``source`` in the order of ``sampler``; usable as a Lightning dataloader.

    A batch's memory is used again only after the batch and all tensors and views of it are gone, so a trainer may hold
    or prefetch any number. Lightning calls ``set_epoch`` on a dataloader's ``sampler``, and reads its ``batch_sampler``
    to tell whether validation is shuffled; both are here.

    Args:
        source, sampler: what to gather, and in which batches.
        prefetch: batches gathered ahead in a thread; 0: none, in the caller's thread.
        pin_memory: gather into pinned memory, for non-blocking copies to CUDA.
    """

    def __init__(
        self, source: GraphSource, sampler: BatchSampler, *, prefetch: int = 2, pin_memory: bool = False
    ) -> None:
        self.source, self.batch_sampler = source, sampler
        self.prefetch, self.pin_memory = prefetch, pin_memory
        self._direct = source if isinstance(source, DirectSource) else None
        self._pool = BufferPool(prefetch + 4)
        self._epoch = self._given = self._skip = 0
        #: Entered while the trainer waits for a batch; a profiler puts its own here.
        self.waiting: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def sampler(self) -> BatchSampler:
        """The batch sampler, under the name that Lightning looks for."""
        return self.batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[GraphBatch]:
        self._given, self._skip = self._skip, 0
        sampler = self.batch_sampler
        order: Iterator[Positions] = sampler.arrays() if isinstance(sampler, ArraySampler) else iter(sampler)
        batches = (self._gather(idx) for idx in islice(order, self._given, None))
        ready = _ahead(batches, self.prefetch) if self.prefetch else batches
        while True:
            with self.waiting():
                batch = next(ready, None)
            if batch is None:
                return
            self._given += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``."""
        self._epoch = epoch
        self.batch_sampler.set_epoch(epoch)

    def position(self) -> dict[str, int]:
        """Epoch, and batches handed out in it (those prefetched but not yet asked for do not count)."""
        return {"epoch": self._epoch, "batch": self._given}

    def resume(self, position: dict[str, int]) -> None:
        """The next ``iter`` goes on behind ``position``; later ones are whole."""
        self.set_epoch(position["epoch"])
        self._skip = position["batch"]

    def _gather(self, idx: Positions) -> GraphBatch:
        if self._direct is None:
            batch = GraphBatch.of(self.source.gather(idx))
            return batch.pin_memory() if self.pin_memory else batch
        if self.pin_memory:
            return GraphBatch.of(self._direct.gather_into(idx, _Pinned()))
        buffers = self._pool.take()
        batch = GraphBatch.of(self._direct.gather_into(idx, buffers))
        self._pool.give(buffers)
        return batch


def _ahead(batches: Iterator[GraphBatch], depth: int) -> Iterator[GraphBatch]:
    """The same batches, up to ``depth`` of them made before they are asked for. Errors arrive in their place."""
    # Queues in C: with queue.Queue the two threads spent more on handing a batch over than on gathering it.
    ready: SimpleQueue[GraphBatch | BaseException | None] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    gone = threading.Event()

    def work() -> None:
        try:
            while True:
                room.get()
                if gone.is_set():
                    return
                # Not kept in a variable: this thread would hold its buffers while it waits.
                ready.put(next(batches))
        except StopIteration:
            ready.put(None)
        except BaseException as e:  # Handed over to be raised where the batch was awaited.
            ready.put(e)

    for _ in range(depth):
        room.put(None)
    thread = threading.Thread(target=work, name="candor-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            room.put(None)
            yield item
            del item
    finally:
        gone.set()
        room.put(None)  # A thread that waits for room sees at once that nobody wants more.
        thread.join()
