"""What the audit found, in a form that JSON, the page and the command line share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing the audit saw.

    Attributes:
        id: name of the check, what ``--allow`` takes.
        severity: an ``error`` stops the run unless allowed.
        message: fact and consequence in one sentence.
        evidence: names and numbers behind it.
    """

    id: str
    severity: Severity
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
