"""Durable writes, digests, and how a full disk is told from other trouble."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from candor.errors import StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Polars (Rust) and Arrow report a full disk in words only.
_FULL_WORDS = ("no space left on device", "os error 28", "disk quota exceeded")
#: numpy reports a short write as a bare OSError; below this much free space we blame the disk.
_NEARLY_FULL_BYTES = 64 * 1024


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex characters."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_tree(folder: Path) -> None:
    """Force all files below ``folder`` to the disk, then the folders, its own too: what a rename publishes is whole."""
    for file in files_below(folder):
        fsync_path(file)
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        fsync_path(inner)
    fsync_path(folder)


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a whole file or nothing: a reader sees the old or the new text, also after a crash.

    ``durable=False`` skips the fsync, for files that are rewritten every few seconds.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            if durable:
                os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_path(path.parent)


def files_below(folder: Path) -> Iterator[Path]:
    """Every regular file below ``folder``, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path


def folder_of(path: Path) -> Path:
    """The nearest existing folder at or above ``path``."""
    while not path.is_dir():
        path = path.parent
    return path


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and everything it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def storage_full(error: BaseException, place: Path) -> StorageFull | None:
    """The StorageFull error that ``error`` amounts to, or None if a full disk is not the cause.

    Args:
        error: what a writer raised; its causes are looked through too.
        place: where it was writing; names the disk in the message.
    """
    folder = folder_of(place)
    disk = os.statvfs(folder)
    nearly_full = disk.f_bavail * disk.f_frsize < _NEARLY_FULL_BYTES
    for e in chain(error):
        if isinstance(e, StorageFull):
            return e
        told = isinstance(e, OSError) and e.errno in _FULL
        in_words = any(words in str(e).lower() for words in _FULL_WORDS)
        if told or in_words or (isinstance(e, OSError) and e.errno is None and nearly_full):
            return StorageFull(
                "no space left while writing",
                place=str(place),
                hint="Free some space there or point CANDOR_CACHE_ROOT to a larger disk, then run the same command: "
                "everything published so far is kept.",
            )
    return None
