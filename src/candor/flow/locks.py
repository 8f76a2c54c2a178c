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

    Polls rather than blocks, because a blocking flock on NFS cannot be interrupted. The file stays behind; who removes
    old ones (``remove_lock``) holds them meanwhile, and whoever waited for a file that is gone opens the new one.

    Args:
        path: lock file, made if missing; holds the holder's process ID for people to read.
        on_wait: called once, with a word on who has the lock, if it is not free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False

    def wait(fd: int) -> None:
        nonlocal told
        while not _try_lock(fd):
            if not told and on_wait is not None:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "another process"
                on_wait(holder)
            told = True
            time.sleep(_POLL_S)

    fd = _opened(path)
    try:
        wait(fd)
        while not _is_still(fd, path):
            _closed(fd)
            fd = _opened(path)
            wait(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        _closed(fd)


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock while inside, without waiting; False if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = _opened(path)
    try:
        yield _try_lock(fd) and _is_still(fd, path)
    finally:
        _closed(fd)


def remove_lock(path: Path) -> bool:
    """Remove the file of a lock that nobody holds; False if somebody does, or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not _try_lock(fd) or not _is_still(fd, path):
            return False
        path.unlink()
        return True
    finally:
        os.close(fd)


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(fd)
    return fd


def _closed(fd: int) -> None:
    _held.discard(fd)
    os.close(fd)


def _is_still(fd: int, path: Path) -> bool:
    """Whether the path names the file that was opened: it may have been removed meanwhile, and made anew by another."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


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
