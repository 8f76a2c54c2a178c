"""An append-only file of events, one JSON object per line, safe for several writers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Journal:
    """Events of a run: what happened, when, by which process."""

    path: Path

    def append(self, event: str, **facts: Any) -> None:
        """Add one event. A single write to a file opened for appending, so lines of two processes never mix."""
        line = {"time": datetime.now(UTC).isoformat(), "pid": os.getpid(), "event": event, **facts}
        payload = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if _torn(fd):
                payload = b"\n" + payload
            os.write(fd, payload)
        finally:
            os.close(fd)

    def read(self) -> list[dict[str, Any]]:
        """All whole events in order; a line torn by a crash is skipped."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return _events(lines)


@dataclass
class JournalTail:
    """Reads a journal that grows, each line once."""

    journal: Journal
    _offset: int = 0

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """Whole events since the last reading, and whether the journal began anew, so that what was read before is void."""
        try:
            with self.journal.path.open("rb") as f:
                again = os.fstat(f.fileno()).st_size < self._offset
                if again:
                    self._offset = 0
                f.seek(self._offset)
                fresh = f.read()
        except FileNotFoundError:
            again, self._offset = self._offset > 0, 0
            return [], again
        whole = fresh[: fresh.rfind(b"\n") + 1]  # The rest is being written.
        self._offset += len(whole)
        return _events(whole.split(b"\n")), again


def _events(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # Also an undecodable byte.
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _torn(fd: int) -> bool:
    """True if the file ends within a line: its writer died."""
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
