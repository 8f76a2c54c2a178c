"""Parts that Ray's processes import by name: pytest's own test modules have no name there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_until

from candor.errors import DataError
from candor.executors.ray_task import Board


def square(number: int) -> int:
    return number * number


def process(folder: Path | None) -> int:
    """Its process; with a folder, once another process is there at the same time."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
        wait_until(lambda: len(list(folder.iterdir())) > 1, "another process")
    return os.getpid()


def refuse(number: int) -> int:
    if number == 2:
        raise DataError("two is refused", place="here")
    return number


@dataclass(frozen=True)
class Note:
    """A part that writes down when it began and ended.

    Attributes:
        after: stays until all these files lie in ``folder``.
        die_before: the part's process kills itself until this many attempts were made.
    """

    folder: Path
    name: str
    after: tuple[str, ...] = ()
    duration_s: float = 0.0
    fail: bool = False
    die_before: int = 0


def note(part: Note) -> str:
    """Leave ``NAME.begun``, stay, leave ``NAME.ended``; one line per attempt in ``NAME.attempts``."""
    with (part.folder / f"{part.name}.attempts").open("a") as f:
        f.write(f"{os.getpid()}\n")
    attempts = len((part.folder / f"{part.name}.attempts").read_text().splitlines())
    if attempts <= part.die_before:
        os.kill(os.getpid(), 9)
    (part.folder / f"{part.name}.begun").write_text(str(time.time()))
    if part.fail:
        raise DataError(f"{part.name} was told to fail")
    wait_until(lambda: all((part.folder / name).exists() for name in part.after), f"{part.after}")
    until = time.monotonic() + part.duration_s
    while time.monotonic() < until:
        time.sleep(0.02)
    (part.folder / f"{part.name}.ended").write_text(str(time.time()))
    return part.name


class SlowBoard(Board):
    """Answers later than anybody waits for it at a time."""

    def news(self) -> dict[str, tuple[bool, tuple[float, float, str] | None]]:
        told = super().news()
        time.sleep(0.5)
        return told
