"""Doing the parts of one stage in parallel, wherever the stage runs: processes here, Ray tasks on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    """Calls a function on many items.

    ``function`` is a module-level function; it and the items must survive a trip to another process. What a part
    leaves behind (a shard, a Parquet file) it publishes atomically under a folder that all workers share, so that an
    interrupted stage resumes with the parts that are missing.
    """

    def map(self, function: Callable[[T], R], items: Sequence[T], *, at_most: int) -> Iterator[tuple[int, R]]:
        """(position in ``items``, result) as they come, never more than ``at_most`` at a time.

        The first failure is raised as it was, after what has not begun was cancelled.
        """


class LocalWorkers:
    """Processes of this machine; this very process where one is enough."""

    def map(self, function: Callable[[T], R], items: Sequence[T], *, at_most: int) -> Iterator[tuple[int, R]]:
        """See Workers."""
        at_most = min(at_most, len(items), len(os.sched_getaffinity(0)))
        if at_most < 2:
            yield from ((position, function(item)) for position, item in enumerate(items))
            return
        # Spawned, not forked: Polars' thread pool does not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(at_most, mp_context=context, initializer=_end_with_parent) as pool:
            positions = {pool.submit(function, item): position for position, item in enumerate(items)}
            try:
                for future in as_completed(positions):
                    yield positions[future], future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed.

    It would do what is queued beside the next attempt, and then wait for more for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="candor-parent", daemon=True).start()


class ThreadWorkers:
    """Threads of this process, for parts that mostly wait or leave the GIL alone, and too small for a process each."""

    def map(self, function: Callable[[T], R], items: Sequence[T], *, at_most: int) -> Iterator[tuple[int, R]]:
        """See Workers."""
        at_most = min(at_most, len(items))
        if at_most < 2:
            yield from ((position, function(item)) for position, item in enumerate(items))
            return
        with ThreadPoolExecutor(at_most) as pool:
            positions = {pool.submit(function, item): position for position, item in enumerate(items)}
            try:
                for future in as_completed(positions):
                    yield positions[future], future.result()
            finally:
                pool.shutdown(cancel_futures=True)
