"""An append-only file of events, one JSON object per line, safe for several writers."""

from __future__ import annotations

import json
import os
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
