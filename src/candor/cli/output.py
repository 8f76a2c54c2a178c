"""How the command line speaks: aligned tables, JSON for machines, errors in one red line."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from candor.errors import CandorError

#: Width of tables where nobody's terminal tells one: wide enough not to fold paths and reasons in a log.
_PIPE_WIDTH = 200

_COLOURS = {
    "succeeded": "green",
    "cached": "green",
    "running": "cyan",
    "queued": "cyan",
    "suspended": "yellow",
    "stale": "yellow",
    "interrupted": "yellow",
    "skipped": "yellow",
    "incomplete": "yellow",
    "purged": "yellow",
    "corrupted": "red",
    "failed": "red",
    "killed": "red",
    "error": "red",
    "warning": "yellow",
}


@dataclass(frozen=True)
class Column:
    """Heading of a table column; ``unit`` is shown beside the name."""

    name: str
    unit: str = ""
    align: Literal["left", "right", "center"] = "left"
    fold: bool = True
    #: Cells are never broken; a heading still is.
    whole: bool = False

    @property
    def heading(self) -> str:
        """``duration [s]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def stdout() -> Console:
    """Console for results."""
    return _console(stderr=False)


def stderr() -> Console:
    """Console for progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False)


#: A heading may be this wide even over narrower cells.
_HEADING_WIDTH = 9


def table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[Any]], *, title: str = "", grouped: bool = False
) -> None:
    """Print rows under aligned headings; outcome words get their colour. A missing value shows as a dash.

    ``grouped``: the first column is written once, above the rows that share it.
    """
    heads = [c if isinstance(c, Column) else Column(c) for c in columns]
    lines = [list(row) for row in rows]
    if grouped:
        group, *heads = heads
        heads[0] = replace(heads[0], name=f"{group.name} / {heads[0].name}")
        lines = list(_with_group_lines(lines))
    drawn = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    console = stdout()
    widest = [
        max((len(str(line[at])) for line in lines if at < len(line)), default=0) for at in range(len(heads))
    ]
    fits = sum(max(w, len(h.heading)) + 2 for w, h in zip(widest, heads, strict=True)) <= console.width + 2
    whole = any(head.whole for head in heads)
    for at, (head, least) in enumerate(zip(heads, widest, strict=True)):
        if head.whole and not fits:
            broken = textwrap.wrap(head.heading, max(least, _HEADING_WIDTH), break_long_words=False)
            drawn.add_column(Text("\n".join(broken)), justify=head.align, no_wrap=True, min_width=least)
        else:
            overflow: Literal["fold", "ellipsis"] = "fold" if head.fold else "ellipsis"
            word = _longest_word([head.heading, *(line[at] for line in lines if at < len(line))])
            kept = word if whole and head.fold else None
            drawn.add_column(Text(head.heading), justify=head.align, overflow=overflow, min_width=kept)
    for line in lines:
        alone = grouped and len(line) == 1
        drawn.add_row(*([Text(line[0], style="bold")] if alone else (_cell(value) for value in line)))
    if whole:
        # Wider than the terminal: better lines that wrap, or scroll in a pager, than cells cut off.
        needed = console.measure(drawn, options=console.options.update(max_width=10_000)).minimum
        console.width = max(console.width, needed)
    console.print(drawn)


def _longest_word(cells: Iterable[Any]) -> int:
    return max((len(word) for cell in cells for word in str(cell or "").split(" ")), default=0)


def _with_group_lines(rows: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Each change of the first cell becomes a line of its own; the others are indented below it."""
    above: Any = None
    for first, second, *rest in rows:
        if first != above:
            yield [str(first)]
            above = first
        yield [f"  {second}", *rest]


def _cell(value: Any) -> Text:
    if value is None or value == "":
        return Text("–", style="dim")
    text = str(value)
    return Text(text, style=_COLOURS.get(text, ""))


def as_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def count(number: int, noun: str) -> str:
    """``1 task``, ``3 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say(line: str) -> None:
    """Print one line of a result, unfolded."""
    stdout().print(Text(line), soft_wrap=True)


def note(line: str) -> None:
    """Print one line for the person, beside the result."""
    stderr().print(Text(line), soft_wrap=True)


def error(e: CandorError) -> None:
    """Print fact, place and next step as one red line on stderr."""
    stderr().print(Text(f"error: {' '.join(str(e).split())}", style="red"), soft_wrap=True)
