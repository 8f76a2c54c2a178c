"""How far the files are that are being read, told across processes and machines by small files in a shared folder.

A worker process, let alone a Ray task on another node, cannot call whoever waits; both see the folder the import goes to.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: How often a reader says how far it is, and a watcher looks.
EVERY_S: Final = 1.0
_SUFFIX: Final = ".reading"


@dataclass(frozen=True)
class Reading:
    """A file that is being read: bytes done and in all, packed ones where it is packed."""

    name: str
    done: int
    total: int

    @property
    def share(self) -> float:
        """0..1."""
        return min(self.done / self.total, 1.0) if self.total else 1.0


class Note:
    """Says how far one reader is, once a second at most, by a file that ``readings`` finds; see ``noting``."""

    def __init__(self, path: Path, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._name, self._clock = path, name, clock
        self._next = clock() + EVERY_S

    def __call__(self, done: int, total: int) -> None:
        if self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_S
        part = self._path.with_suffix(".writing")
        with suppress(OSError):  # Not worth stopping for.
            part.write_text(json.dumps([self._name, done, total]), encoding="utf-8")
            part.rename(self._path)


@contextmanager
def noting(folder: Path, key: str, name: str) -> Iterator[Note]:
    """A Note in ``folder``, gone afterwards. ``key`` names the reader, ``name`` what people call the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{key}-{os.getpid()}{_SUFFIX}"
    try:
        yield Note(path, name)
    finally:
        path.unlink(missing_ok=True)


def readings(folder: Path) -> list[Reading]:
    """What is being read under ``folder`` now, by name."""
    found = []
    for path in sorted(folder.glob(f".*{_SUFFIX}")):
        try:
            found.append(Reading(*json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue  # Done meanwhile.
    return found


@contextmanager
def watching(
    folder: Path, tell: Callable[[list[Reading]], None], *, every_s: float = EVERY_S
) -> Iterator[None]:
    """Tell of what is being read under ``folder`` for as long as anything is."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            if found := readings(folder):
                tell(found)

    watcher = threading.Thread(target=watch, name="reading", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def clean(folder: Path) -> None:
    """Remove notes of readers that are no more."""
    for path in (*folder.glob(f".*{_SUFFIX}"), *folder.glob(".*.writing")):
        path.unlink(missing_ok=True)
