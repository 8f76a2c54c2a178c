"""The end of an audit, whatever the domain: findings to JSON and a page, and a run stopped by an error nobody allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from candor.errors import AuditFailed
from candor.flow.stage import Json, Output, Result
from candor.ids.graphs.audit_page import page
from candor.ids.graphs.findings import SEVERITIES, Finding


def close(
    findings: Sequence[Finding],
    allow: Sequence[str],
    measured: Mapping[str, Any],
    catalog: pl.DataFrame,
    out: Output,
) -> Result:
    """Write ``findings.json`` ({"findings", "allowed", and what was ``measured``}) and ``index.html``.

    Raises AuditFailed, naming every finding of level error that ``allow`` does not; both files then lie in the task's
    scratch folder.
    """
    ordered = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
    content = {"findings": [asdict(f) for f in ordered], "allowed": sorted(allow), **measured}
    stopping = [f for f in ordered if f.severity == "error" and f.id not in allow]
    folder = out.scratch if stopping else out.path
    folder.mkdir(parents=True, exist_ok=True)
    _write(content, catalog, folder)
    if stopping:
        names = sorted({f.id for f in stopping})
        raise AuditFailed(
            "the audit stops this run: " + "; ".join(f"[{f.id}] {f.message}" for f in stopping),
            place=str(folder / "findings.json"),
            hint=f"Fix the splits, or accept it knowingly with {' '.join(f'--allow {i}' for i in names)}.",
        )
    summary: dict[str, Json] = {s: sum(f.severity == s for f in ordered) for s in SEVERITIES}
    ids: list[Json] = list(dict.fromkeys(f.id for f in ordered))
    return Result({**summary, "findings": ids, "allowed": list(allow)})


def _write(content: Mapping[str, Any], catalog: pl.DataFrame, folder: Path) -> None:
    (folder / "findings.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "index.html").write_text(page(content, catalog), encoding="utf-8")
