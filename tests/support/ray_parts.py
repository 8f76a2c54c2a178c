"""Parts that Ray's processes import by name: pytest's own test modules have no name there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from candor.errors import DataError


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    time.sleep(0.3)
    return os.getpid()


def refuse(number: int) -> int:
    if number == 2:
        raise DataError("two is refused", place="here")
    return number


@dataclass(frozen=True)
class Note:
    """A part that writes down when it began and ended.

    Attributes:
        die_before: the part's process kills itself until this many attempts were made.
    """

    folder: Path
    name: str
    duration_s: float = 0.0
    fail: bool = False
    die_before: int = 0


def note(part: Note) -> str:
    """Leave ``NAME.begun``, sleep, leave ``NAME.ended``; one line per attempt in ``NAME.attempts``."""
    with (part.folder / f"{part.name}.attempts").open("a") as f:
        f.write(f"{os.getpid()}\n")
    attempts = len((part.folder / f"{part.name}.attempts").read_text().splitlines())
    if attempts <= part.die_before:
        os.kill(os.getpid(), 9)
    (part.folder / f"{part.name}.begun").write_text(str(time.time()))
    if part.fail:
        raise DataError(f"{part.name} was told to fail")
    until = time.monotonic() + part.duration_s
    while time.monotonic() < until:
        time.sleep(0.02)
    (part.folder / f"{part.name}.ended").write_text(str(time.time()))
    return part.name
