"""Several processes of one machine that train one model: started, told who they are, and ended together.

Every process does the same stage on the same inputs; only the first one, which is the process that was asked, writes the
artifact, records metrics and tells progress. They share the scratch folder, where only the first one writes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment

from candor.errors import ConfigError, StageFailed
from candor.flow.stage import Inputs, Output, Result, Stage
from candor.flow.storage import write_atomic

#: Seconds that the others have to end after the first one did.
_END_S = 30.0


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this one is."""

    number: int = 0
    of: int = 1


_RANK = Rank()


def rank() -> Rank:
    """Of this process; (0, 1) where it trains alone."""
    return _RANK


def agreed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The first process's values, in all of them: devices may differ in the last digit of what each works out."""
    if rank().of == 1:
        return values
    shared = torch.from_numpy(np.ascontiguousarray(values).copy())
    torch.distributed.broadcast(shared, 0)
    found: npt.NDArray[Any] = shared.numpy()
    return found


def added_up(values: torch.Tensor) -> torch.Tensor:
    """Sum over all processes."""
    if rank().of > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


class Group(ClusterEnvironment):
    """Tells Lightning of processes that ``together`` started."""

    creates_processes_externally = True
    main_address = "127.0.0.1"
    main_port = 0  # The group is there already.

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return rank().of

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return rank().number

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return rank().number

    def node_rank(self) -> int:
        return 0


def together(
    stage: Stage, config: Any, inputs: Inputs, out: Output, *, processes: int, device: str
) -> Result:
    """``stage(config, inputs, out)`` in so many processes; the result is that of the first one.

    Args:
        stage: a module-level function, which finds out by ``rank`` what its part is.
        device: ``cpu`` or ``cuda``; on CUDA each process has a device of its own.

    Raises:
        ConfigError: there are fewer devices. StageFailed: another process ended with an error. And what the stage raises.
    """
    if processes == 1:
        return stage(config, inputs, out)
    if device == "cuda" and torch.cuda.device_count() < processes:
        raise ConfigError(
            f"{processes} processes, and this machine shows {torch.cuda.device_count()} CUDA devices",
            place="training.devices",
            hint="Ask for more (stages.NAME.gpus of the site preset), or train on fewer.",
        )
    with tempfile.TemporaryDirectory(prefix="candor-ranks-") as folder:
        others, wait_s = _Others(Path(folder), (stage, config, inputs, out.scratch), processes, device), 0.0
        try:
            others.start()
            with ExitStack() as group:
                with _blaming(others):
                    group.enter_context(_member(Path(folder), Rank(0, processes), device))
                # Before this process leaves the group: the others that are well fail by that alone.
                with _blaming(others):
                    result = stage(config, inputs, out)
            wait_s = _END_S
            return result
        finally:
            others.end(wait_s)


@contextmanager
def _blaming(others: _Others) -> Iterator[None]:
    """An error in here is another process's where that ended before: the first one joined it, or waited for it, in vain."""
    try:
        yield
    except Exception as e:
        failed = others.failure()
        if failed:
            raise StageFailed(failed) from e
        raise


class _Others:
    """All processes but the first."""

    def __init__(self, folder: Path, work: tuple[Any, ...], processes: int, device: str) -> None:
        self._folder, self._of = folder, processes
        # Spawned: CUDA and OpenMP do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._work, self._device = work, device
        self._processes: list[BaseProcess] = []

    def start(self) -> None:
        """Return when all are about to join the group: joining waits for ever for one that died."""
        pipes = []
        for number in range(1, self._of):
            ours, theirs = self._context.Pipe(duplex=False)
            arguments = (theirs, self._folder, Rank(number, self._of), self._device, *self._work)
            process = self._context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            pipes.append(ours)
        for number, pipe in enumerate(pipes, 1):
            try:
                pipe.recv()
            except EOFError as e:
                raise StageFailed(self.failure() or f"process {number} of {self._of} did not start") from e

    def failure(self) -> str:
        """What the first of them to fail said; "" if none did."""
        # Those that were well fail too, as soon as one is gone.
        first = min(self._folder.glob("*.err"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if first is not None:
            return f"process {first.stem} of {self._of} that trained together failed: {first.read_text()}"
        for number, process in enumerate(self._processes, 1):
            process.join(1.0)  # A process that was killed leaves no word.
            if process.exitcode:
                return f"process {number} of {self._of} that trained together failed: exit code {process.exitcode}"
        return ""

    def end(self, wait_s: float) -> None:
        """Nobody is left behind, whatever happened."""
        for process in self._processes:
            process.join(wait_s)
            process.terminate()
            process.join()


def _serve(
    ready: Connection,
    folder: Path,
    me: Rank,
    device: str,
    stage: Callable[[Any, Inputs, Output], Result],
    config: Any,
    inputs: Inputs,
    scratch: Path,
) -> None:
    """Another process than the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first one's to handle; it ends this process.
    own = folder / str(me.number)
    own.mkdir()
    ready.send(None)
    with _member(folder, me, device):
        try:
            stage(config, inputs, Output(own, scratch, _Silent(), _silent))
        except BaseException as e:
            # Said before this process leaves the group, by which the first one fails.
            said = f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"
            write_atomic(folder / f"{me.number}.err", said)
            traceback.print_exc()
            sys.exit(1)


@contextmanager
def _member(folder: Path, me: Rank, device: str) -> Iterator[None]:
    """This process as one of the group."""
    global _RANK
    # Nothing leaves this machine.
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")
    if device == "cuda":
        torch.cuda.set_device(me.number)
    store = torch.distributed.FileStore(  # type: ignore[attr-defined]
        str(folder / "group"), me.of
    )
    # Torch names a group by the number of those before it, which it does not always count back when one broke; members with
    # different numbers would wait for each other for ever.
    torch.distributed.distributed_c10d._world.group_count = 0
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=me.number, world_size=me.of)
    _RANK = me
    try:
        yield
    finally:
        _RANK = Rank()
        with suppress(RuntimeError):  # Another one may be gone.
            torch.distributed.destroy_process_group()


class _Silent:
    """The recorder of a process that is not the first."""

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...


def _silent(done: float, total: float, note: str = "") -> None: ...
