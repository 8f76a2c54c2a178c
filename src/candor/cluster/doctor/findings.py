"""What a check came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What a check came to; ``todo``: what to change if it failed."""

    state: State
    told: str
    todo: str = ""
    name: str = ""
    duration_s: float = 0.0


def ok(told: str) -> Finding:
    """It works."""
    return Finding("ok", told)


def failed(told: str, todo: str) -> Finding:
    """It does not."""
    return Finding("failed", told, todo)


def skipped(told: str) -> Finding:
    """There is nothing to measure."""
    return Finding("skipped", told)
