"""What a job printed, as far as it says how the job ended."""

from __future__ import annotations

from pathlib import Path

_END_BYTES = 4096


def end_of(output: Path) -> str:
    """The last few thousand bytes of a job's output."""
    with output.open("rb") as f:
        f.seek(max(0, output.stat().st_size - _END_BYTES))
        return f.read().decode(errors="replace")
