"""Whether a training step fits in memory, tried in a process of its own that a real shortage may kill.

On CPU the process may allocate up to the limit (RLIMIT_AS), so a step that needs more meets a real MemoryError; on
CUDA the allocator is given that share of the device. A process that met one is replaced: its memory is in pieces.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import re
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from candor.errors import StageFailed
from candor.flow.process import peak_memory_bytes, reset_peak_memory
from candor.learn.budget import Probed

log = logging.getLogger(__name__)

#: Runs training steps on the fullest batches of a budget (max_nodes, max_edges).
Steps = Callable[[int, int], None]
#: What torch and the C++ library say where Python would say MemoryError.
_SHORTAGE = re.compile(
    r"can't allocate memory|not enough memory|out of memory|bad_alloc|cannot allocate", re.I
)


@dataclass(frozen=True)
class _Reply:
    """What the process tells of one budget; ``ready`` after its warm-up."""

    kind: Literal["ready", "fits", "short", "error"]
    peak_bytes: int = 0
    text: str = ""
    trace: str = ""


def is_shortage(error: BaseException) -> bool:
    """The error says that there is no memory left, not that something is wrong."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and _SHORTAGE.search(str(error)) is not None


class IsolatedProbe:
    """A probe for ``find_budget`` that takes real steps in another process.

    Args:
        prepare: a module-level function that builds model, optimizer and data from ``spec``, takes a small step (which
            fills the allocator's pools, the optimizer's state and compiled kernels) and returns Steps.
        spec: its argument; survives a trip to another process.
        limit_bytes: resident memory of the process on CPU, allocated memory on CUDA; None on CUDA: the whole device.
        device: ``cpu`` or ``cuda``.

    Raises (when called) StageFailed if a step fails for another reason than memory.
    """

    def __init__(
        self, prepare: Callable[[Any], Steps], spec: Any, *, limit_bytes: int | None, device: str
    ) -> None:
        self._prepare, self._spec, self._limit, self._device = prepare, spec, limit_bytes, device
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._words = tempfile.NamedTemporaryFile(prefix="candor-probe-", suffix=".err")  # noqa: SIM115

    def __call__(self, max_nodes: int, max_edges: int) -> Probed:
        """Take the steps of one budget."""
        reply = self._ready()
        if reply.kind == "ready":
            reply = self._ask((max_nodes, max_edges))
        if reply.kind == "error":
            self.close()
            log.error("a step with %d nodes, %d edges failed:\n%s", max_nodes, max_edges, reply.trace)
            raise StageFailed(
                f"a step with {max_nodes} nodes failed, not for want of memory: {reply.text}",
                hint="Where it failed is in the log of the task.",
            )
        if reply.kind == "short":
            self._end()
            return Probed(max_nodes, max_edges, False, reply.peak_bytes or None, reply.text)
        return Probed(max_nodes, max_edges, True, reply.peak_bytes)

    def close(self) -> None:
        """End the process."""
        self._end()
        self._words.close()

    def __enter__(self) -> IsolatedProbe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> _Reply:
        if self._process is not None:
            return _Reply("ready")
        # Spawned: CUDA and OpenMP do not survive a fork, and memory should start from nothing.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        Path(self._words.name).write_text("")
        self._process = context.Process(
            target=_serve,
            args=(theirs, self._prepare, self._spec, self._limit, self._device, self._words.name),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        return self._ask(None)

    def _ask(self, budget: tuple[int, int] | None) -> _Reply:
        assert self._pipe is not None
        assert self._process is not None
        try:
            if budget is not None:
                self._pipe.send(budget)
            reply = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return _died(self._process.exitcode, Path(self._words.name).read_text(errors="replace"))
        assert isinstance(reply, _Reply)
        return reply

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join()
        self._process = self._pipe = None


def _died(exit_code: int | None, words: str) -> _Reply:
    """What became of a process that ended without a word: the kernel kills with SIGKILL where memory is short."""
    last = " ".join(words.split())[-400:]
    if exit_code == -signal.SIGKILL:
        return _Reply("short", text="the process was killed, as the kernel does where memory is short")
    if _SHORTAGE.search(words):
        return _Reply("short", text=f"the process ended: {last}")
    name = signal.Signals(-exit_code).name if exit_code is not None and exit_code < 0 else f"code {exit_code}"
    return _Reply("error", text=f"the process ended by {name}: {last or 'it said nothing'}")


def _serve(
    pipe: Connection,
    prepare: Callable[[Any], Steps],
    spec: Any,
    limit_bytes: int | None,
    device: str,
    words: str,
) -> None:
    """The process: warm up, then one reply for each budget that comes."""
    with open(words, "a") as file:
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends this process.
    steps: Steps | None = None

    def attempt(work: Callable[[], None], kind: Literal["ready", "fits"]) -> _Reply:
        try:
            work()
        except BaseException as e:
            told = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
            return _Reply("short" if is_shortage(e) else "error", text=told, trace=traceback.format_exc())
        return _Reply(kind)

    def warm_up() -> None:
        nonlocal steps
        if device == "cuda":
            _limit_device(limit_bytes)
        steps = prepare(spec)
        if device == "cpu" and limit_bytes is not None:
            _release(device)
            _limit_address_space(limit_bytes)

    pipe.send(attempt(warm_up, "ready"))
    while True:
        try:
            max_nodes, max_edges = pipe.recv()
        except EOFError:
            return
        _release(device)
        assert steps is not None
        reply = attempt(partial(steps, max_nodes, max_edges), "fits")
        peak = _peak(device)
        if reply.kind == "fits" and limit_bytes is not None and peak > limit_bytes:
            reply = _Reply("short", text=f"{peak / 1e9:.2f} GB of {limit_bytes / 1e9:.2f} GB")
        pipe.send(replace(reply, peak_bytes=peak))


def _limit_device(limit_bytes: int | None) -> None:
    if limit_bytes is not None:
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total))


def _limit_address_space(limit_bytes: int) -> None:
    """Let the process grow until its resident memory would reach the limit.

    Raises MemoryError if it is there already: interpreter, torch and model alone take so much.
    """
    status = Path("/proc/self/status").read_text()
    size, resident = (
        int(line.split()[1]) * 1024
        for name in ("VmSize:", "VmRSS:")
        for line in status.splitlines()
        if line.startswith(name)
    )
    if resident >= limit_bytes:
        raise MemoryError(
            f"the process takes {resident / 1e9:.2f} GB before its first batch, the limit is {limit_bytes / 1e9:.2f} GB"
        )
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + limit_bytes - resident, hard))


def _release(device: str) -> None:
    """Give back what earlier steps left, and start the high-water mark anew."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError, AttributeError):  # Not glibc: what is freed goes back when the allocator likes.
        ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory()


def _peak(device: str) -> int:
    if device == "cuda":
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_reserved())
    return peak_memory_bytes()
