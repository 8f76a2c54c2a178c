"""One builder per key: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_S = 0.1

#: Locks held by this process. A forked child shares them, and would keep them alive after a SIGKILL of its parent.
_held: set[int] = set()


def _drop_in_child() -> None:
    for fd in _held:
        with suppress(OSError):
            os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


@contextmanager
def key_lock(path: Path, *, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the exclusive lock ``path``; wait for whoever has it.

    Polls rather than blocks, because a blocking flock on NFS cannot be interrupted. The file stays behind: removing
    it would let two processes lock two files of the same name.

    Args:
        path: lock file, made if missing; holds the holder's process ID for people to read.
        on_wait: called once, with a word on who has the lock, if it is not free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(fd)
    try:
        told = False
        while not _try_lock(fd):
            if not told and on_wait is not None:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "another process"
                on_wait(holder)
            told = True
            time.sleep(_POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        _held.discard(fd)
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """True if nobody holds the lock right now."""
    if not path.exists():
        return True
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _try_lock(fd)
    finally:
        os.close(fd)
