"""How far a run is, for the person who waits: lines with bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from candor.executors.base import JobResult, Skipped
from candor.flow.plan import PlannedTask

#: Without a terminal, a running stage reports at most this often.
_PLAIN_EVERY_S = 15.0
_NOTE_WIDTH = 44


class Display(Protocol):
    """Told by an executor what happens."""

    def started(self, task: PlannedTask) -> None:
        """A task begins."""

    def progress(self, task_id: str, done: float, total: float, note: str = "") -> None:
        """The stage of a running task got this far."""

    def finished(self, result: JobResult) -> None:
        """A task ended, or was skipped."""


class Quiet:
    """Shows nothing."""

    def started(self, task: PlannedTask) -> None:
        """Nothing."""

    def progress(self, task_id: str, done: float, total: float, note: str = "") -> None:
        """Nothing."""

    def finished(self, result: JobResult) -> None:
        """Nothing."""


def seconds(duration_s: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if duration_s < 9.95:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def verdict(result: JobResult) -> tuple[str, str, str]:
    """(mark, colour, words) of a finished task."""
    if isinstance(result, Skipped):
        return "-", "yellow", f"skipped, because {result.cause} failed"
    record = result.record
    if record.outcome == "cached":
        return "✓", "green", "the same work was published meanwhile"
    if result.ok:
        memory = f", {record.peak_memory_bytes / 1e6:.0f} MB" if record.peak_memory_bytes else ""
        return "✓", "green", f"{seconds(record.duration_s or 0.0)}{memory}"
    return "✗", "red", f"{record.outcome}: {record.reason or 'no reason given'}"


class PlainDisplay:
    """One line per event; for logs and pipes."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0
        self._begun: list[str] = []
        self._told: dict[str, float] = {}

    def started(self, task: PlannedTask) -> None:
        """Print that it begins."""
        self._begun.append(task.id)
        self._told[task.id] = time.monotonic()
        self._print(f"{self._place(task.id)} {task.id} ...")

    def progress(self, task_id: str, done: float, total: float, note: str = "") -> None:
        """Print how far it is, now and then."""
        if time.monotonic() - self._told.get(task_id, 0.0) >= _PLAIN_EVERY_S:
            self._told[task_id] = time.monotonic()
            share = f"{100 * done / total:.0f} %" if total else ""
            self._print(f"{self._place(task_id)} {task_id}: {share} {note}".rstrip())

    def _place(self, task_id: str) -> str:
        """Which one it is: counted after those that ended, in the order in which the others began."""
        place = self._begun.index(task_id) if task_id in self._begun else 0
        return f"[{self._done + 1 + place}/{self._total}]"

    def finished(self, result: JobResult) -> None:
        """Print how it ended."""
        self._done += 1
        task_id = result.task_id if isinstance(result, Skipped) else result.record.task
        if task_id in self._begun:
            self._begun.remove(task_id)
        mark, _, words = verdict(result)
        self._print(f"[{self._done}/{self._total}] {mark} {task_id} ({words})")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class BarDisplay:
    """One line for the run, one for each task at work; finished tasks scroll away above them. A context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=console,
            transient=True,
        )
        self._total, self._done = total, 0
        self._overall = self._bars.add_task("run", total=total, count=f"0/{total} tasks", note="")
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> BarDisplay:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def started(self, task: PlannedTask) -> None:
        """Give the task a line; on a terminal with too few, Rich shows the first of them."""
        if task.id not in self._lines:
            self._lines[task.id] = self._bars.add_task(task.id, total=None, count="", note="")

    def progress(self, task_id: str, done: float, total: float, note: str = "") -> None:
        """Move the task's bar."""
        if task_id not in self._lines:  # Told late, by another process.
            return
        share = f"{100 * done / total:3.0f} %" if total else ""
        short = note if len(note) <= _NOTE_WIDTH else note[: _NOTE_WIDTH - 1] + "…"
        self._bars.update(self._lines[task_id], completed=done, total=total or None, count=share, note=short)

    def finished(self, result: JobResult) -> None:
        """Leave a line above the bars and move the run's bar."""
        self._done += 1
        task_id = result.task_id if isinstance(result, Skipped) else result.record.task
        mark, colour, words = verdict(result)
        self._bars.console.print(
            f"[{colour}]{mark}[/] {escape(task_id)} [dim]{escape(words)}[/]", highlight=False
        )
        self._bars.update(self._overall, completed=self._done, count=f"{self._done}/{self._total} tasks")
        if task_id in self._lines:
            self._bars.remove_task(self._lines.pop(task_id))
