"""Doing the parts of one stage as Ray tasks, on whichever nodes have room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from candor.errors import StageFailed

T = TypeVar("T")
R = TypeVar("R")

#: What was told to stop gets this long before its process is ended: as long as SLURM's ``KillWait`` is by default, since it
#: writes a checkpoint and its record meanwhile, to a disk that may be slow.
STOP_GRACE_S = 30.0


@dataclass(frozen=True)
class RayWorkers:
    """Ray tasks. Ray must be up in this process: inside a Ray task it always is.

    While the caller waits for a part, Ray lends its processors to others, so that parts find room on a full cluster.

    Attributes:
        cpus, gpus, memory_bytes: what each part reserves; a part may have a fraction of a GPU.
        max_retries: how often a part begins again after its worker or node was lost. A part that raises is never
            tried again.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int | None = None
    max_retries: int = 3

    def map(self, function: Callable[[T], R], items: Sequence[T], *, at_most: int) -> Iterator[tuple[int, R]]:
        """See flow.workers.Workers.

        Raises StageFailed if the worker of a part was lost more than ``max_retries`` times.
        """
        if min(at_most, len(items)) < 2:
            yield from ((position, function(item)) for position, item in enumerate(items))
            return
        if not ray.is_initialized():  # Else Ray would start a cluster of its own accord, without a token.
            raise RuntimeError("RayWorkers needs a process that is connected to Ray")
        part: Any = ray.remote(_call).options(
            name=getattr(function, "__name__", "part"),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            memory=self.memory_bytes,
            max_retries=self.max_retries,
        )
        waiting = deque(enumerate(items))
        under_way: dict[Any, int] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < at_most:
                    position, item = waiting.popleft()
                    under_way[part.remote(function, item)] = position
                done, _ = ray.wait(list(under_way))
                for ref in done:
                    position = under_way.pop(ref)
                    yield position, self._result(ref, position, len(items))
        finally:
            _stop(list(under_way))

    def _result(self, ref: Any, position: int, total: int) -> Any:
        try:
            return ray.get(ref)
        except RayTaskError as e:
            # Ray raises a class of its own making that is also the error's class; callers want the error itself.
            cause = e.cause
            assert isinstance(cause, BaseException)
            raise cause from e
        except (WorkerCrashedError, NodeDiedError, OutOfMemoryError) as e:
            raise StageFailed(
                f"the worker of part {position + 1} of {total} was lost {self.max_retries + 1} times",
                hint="Look for a part that needs more memory than a worker has; ask for more, or use fewer workers at a time.",
            ) from e


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)


def _stop(refs: list[Any]) -> None:
    """Interrupt parts that nobody waits for any more; when this returns none of them writes."""
    for ref in refs:
        ray.cancel(ref)
    if not refs:
        return
    _, deaf = ray.wait(refs, num_returns=len(refs), timeout=STOP_GRACE_S, fetch_local=False)
    for ref in deaf:
        ray.cancel(ref, force=True)
    try:
        ray.wait(deaf, num_returns=len(deaf), timeout=STOP_GRACE_S, fetch_local=False) if deaf else None
    except RayError:  # The cluster is going down.
        return
