"""What a finished run leaves for the eye: the table and the page of its ``report`` task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from candor.cli import output
from candor.errors import ArtifactCorrupted, NotFound
from candor.flow.artifact import ArtifactStore
from candor.flow.plan import Plan

REPORT_TASK, TABLE, PAGE = "report", "table.json", "index.html"


def report_folder(plan: Plan, store: ArtifactStore) -> Path | None:
    """Folder of the published report; None if the plan makes none."""
    try:
        task = plan.task(REPORT_TASK)
    except NotFound:
        return None
    return store.open(task.stage, task.key).path


def read_table(folder: Path) -> dict[str, Any] | None:
    """The report's table: ``{"title", "columns": [{"name", "unit", "align"}], "rows": [[...]]}``; None if it has none."""
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return {
            "title": table.get("title", ""),
            "columns": table["columns"],
            "rows": table["rows"],
            "notes": table.get("notes", []),
            "grouped": bool(table.get("grouped")),
        }
    except (ValueError, KeyError, AttributeError) as e:
        raise ArtifactCorrupted("the report's table is not what this version reads", place=str(path)) from e


def show(plan: Plan, store: ArtifactStore) -> None:
    """Print table and path of the page; without a report task, where the last artifacts lie."""
    folder = report_folder(plan, store)
    if folder is None:
        needed = {source for task in plan.tasks for source in task.inputs.values()}
        for task in plan.tasks:
            if task.id not in needed:
                output.say(f"{task.id}: {store.path(task.stage, task.key)}")
        return
    table = read_table(folder)
    if table is not None:
        show_rows(table)
        for line in table["notes"]:
            output.say(line)
    if (folder / PAGE).is_file():
        output.say(f"Summary page: {folder / PAGE}")


def show_rows(table: dict[str, Any]) -> None:
    """Print a table as ``read_table`` gives it, without its notes."""
    columns = [
        output.Column(c["name"], c.get("unit") or "", c.get("align") or "left", whole=True)
        for c in table["columns"]
    ]
    output.table(columns, table["rows"], title=table["title"], grouped=table["grouped"])


def as_json(plan: Plan, store: ArtifactStore) -> dict[str, Any]:
    """Table and page for machines; empty without a report."""
    folder = report_folder(plan, store)
    if folder is None:
        return {}
    page = folder / PAGE
    return {"table": read_table(folder), "page": str(page) if page.is_file() else None}
