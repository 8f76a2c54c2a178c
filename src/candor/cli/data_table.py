"""The table of captures: as many columns as the terminal is wide, and no name broken in the middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from candor.cli import output

Rows = Sequence[Mapping[str, Any]]

COLUMNS: Final = {
    "dataset": output.Column("dataset"),
    "capture": output.Column("capture", whole=True),
    "split": output.Column("split", whole=True),
    "scenario": output.Column("scenario"),
    "vehicle": output.Column("vehicle", whole=True),
    "base_capture": output.Column("base capture", whole=True),
    "attack": output.Column("attack"),
    "rows": output.Column("rows", "", "right", whole=True),
    "duration_s": output.Column("duration", "s", "right", whole=True),
    "ids": output.Column("ids", "", "right", whole=True),
    "attack_share": output.Column("attack share", "%", "right", whole=True),
    "quarantined": output.Column("quarantined", "", "right", whole=True),
}
#: Left out where the terminal is too narrow, the first first.
_DISPENSABLE: Final = (
    "base_capture",
    "quarantined",
    "ids",
    "duration_s",
    "vehicle",
    "attack_share",
    "scenario",
)
_GAP: Final = 2


def show(rows: Rows) -> None:
    """Print the captures, each data set's name once above its own."""
    cells = {name: [_cell(name, row) for row in rows] for name in COLUMNS}
    # A column that says nothing of any capture is no column.
    kept = [name for name in COLUMNS if name in ("dataset", "capture", "split") or any(cells[name])]
    dropped = []
    for name in _DISPENSABLE:
        if _width(kept, cells) <= output.stdout().width:
            break
        if name in kept:
            kept.remove(name)
            dropped.append(COLUMNS[name].name)
    lines = list(zip(*(cells[name] for name in kept), strict=True))
    output.table([COLUMNS[name] for name in kept], lines, grouped=True)
    if dropped and rows:
        output.note(
            f"Left out, as the terminal is narrow: {', '.join(dropped)}. A wider one or --json shows them."
        )


def _width(kept: Sequence[str], cells: Mapping[str, Sequence[str]]) -> int:
    """Characters that the table needs if nothing but blanks between words is broken."""
    total = -_GAP
    for name in kept:
        if name == "dataset":  # Stands above its captures.
            continue
        column = COLUMNS[name]
        parts = [part for cell in cells[name] for part in ([cell] if column.whole else cell.split(" "))]
        indent = 2 if name == "capture" else 0
        total += _GAP + max(map(len, [*parts, *column.heading.split(" ")]), default=0) + indent
    return total


def _cell(column: str, row: Mapping[str, Any]) -> str:
    value = row.get(column)
    if value is None or (column == "base_capture" and value == row["capture"]):
        return ""
    if column == "duration_s":
        return f"{value:.1f}"
    if column == "attack_share":
        return f"{100 * value:.2f}"
    if column in ("scenario", "attack"):  # Words wrap at blanks, and never inside.
        return str(value).replace("_", " ").replace("+", " + ")
    return f"{value:,}" if isinstance(value, int) else str(value)
