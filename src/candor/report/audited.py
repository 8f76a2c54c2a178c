"""What the audit found, as tables and pages made from a run must say it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_findings(folder: Path | None) -> list[dict[str, Any]]:
    """Findings of an audit artifact, none without one. Those of level error were allowed, or the run would have stopped."""
    if folder is None or not (folder / "findings.json").is_file():
        return []
    content = json.loads((folder / "findings.json").read_text())
    found = content["findings"] if isinstance(content, dict) else content
    return [dict(f) for f in found]


def allowed(finding: Mapping[str, Any]) -> str:
    """The sentence below a table."""
    return f"The audit's error '{finding['id']}' was allowed: {finding['message']}"


def allowed_notes(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for every error that was allowed."""
    return [allowed(f) for f in findings if f["severity"] == "error"]
