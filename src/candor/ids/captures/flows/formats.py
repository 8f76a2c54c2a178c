"""The flow formats Candor reads, and how one is recognised by its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from candor.errors import CaptureRejected, CaptureUnreadable, SchemaMismatch
from candor.ids.captures import quarantine
from candor.ids.captures.flows import cicids, fields, others, unsw
from candor.ids.captures.flows.decode import Parsed, decode, join
from candor.ids.captures.flows.layout import Layout as Layout

LAYOUTS: Final = {
    layout.name: layout
    for layout in (
        *(unsw.RAW, cicids.LABELLED_FLOWS, others.CTU13, others.ZEEK, others.NETFLOW_V2),
        *(cicids.MACHINE_LEARNING, unsw.SPLIT),
    )
}
_HINT: Final = f"Known flow formats: {', '.join(LAYOUTS)}."


@dataclass(frozen=True)
class Read:
    """A parsed file, the layout it has, and whether it carries labels."""

    parsed: Parsed
    layout: Layout
    labelled: bool


def read(content: bytes, place: str, *, name: str = "auto", max_quarantined_share: float = 0.5) -> Read:
    """File content → flows in file order and quarantine.

    Raises:
        CaptureRejected: empty, no flow left, or more than ``max_quarantined_share`` of the rows malformed.
        SchemaMismatch, CaptureUnreadable: columns of no known format, or not those of format ``name``.
    """
    if content.startswith(fields.PARQUET_MAGIC):
        table = _renamed(fields.read_parquet(content, place))
        layout = _choose(tuple(table.columns), name, place)
        labelled = not layout.labelled or layout.labelled in table.columns
        parsed = decode(fields.parquet_rows(table, layout.columns, place), layout, labelled=labelled)
    else:
        text, layout = _text(content, place, name)
        labelled = not layout.labelled or layout.labelled in text.names
        parts = [decode(part, layout, labelled=labelled) for part in fields.chunks(text, layout.columns)]
        if not parts:
            raise CaptureRejected("the file holds a header and no flow", place=place)
        parsed = join(parts)
    filled = parsed.quarantined.filter(pl.col("reason") != "row_empty")
    quarantine.refuse_if_mostly(filled, parsed.rows - parsed.empty_rows, max_quarantined_share, place=place)
    if parsed.flows.is_empty():
        raise CaptureRejected("the capture holds no flow", place=place, hint="Leave it out of the data set.")
    return Read(parsed, layout, labelled)


def _renamed(table: pl.DataFrame) -> pl.DataFrame:
    return table.rename(
        {a: b for a, b in cicids.RENAMED.items() if a in table.columns and b not in table.columns}
    )


def _choose(columns: tuple[str, ...], name: str, place: str) -> Layout:
    """The layout of that name, or the one of which the file has all and most required columns."""
    have = set(columns)
    if name != "auto":
        missing = [column for column in LAYOUTS[name].required if column not in have]
        if missing:
            raise SchemaMismatch(
                f"format '{name}' needs {', '.join(missing[:5])}",
                place=place,
                hint="Leave the format out to have it recognised.",
            )
        return LAYOUTS[name]
    fitting = [layout for layout in LAYOUTS.values() if have.issuperset(layout.required)]
    if not fitting:
        raise SchemaMismatch(
            f"columns {','.join(columns)[:120]} belong to no flow format", place=place, hint=_HINT
        )
    return max(fitting, key=lambda layout: (layout.src is not None, len(layout.required)))


def _text(content: bytes, place: str, name: str) -> tuple[fields.Text, Layout]:
    lines = fields.read_lines(content)
    if lines.is_empty():
        raise CaptureRejected("the file is empty", place=place, hint="Fetch the file again.")
    if lines["raw"][0].startswith("#separator"):
        return _zeek(lines, place)
    first = lines["raw"][0]
    separator = max(",", "\t", ";", key=first.count)
    if not first.count(separator):
        raise CaptureUnreadable(f"no flow file; it starts '{first[:80]}'", place=place, hint=_HINT)
    names = [cell.strip(' "') for cell in first.split(separator)]
    for layout in LAYOUTS.values():
        wanted = name in ("auto", layout.name)
        if (
            wanted
            and layout.headerless
            and len(names) == len(layout.headerless)
            and any(map(_numeric, names))
        ):
            return fields.Text(layout.headerless, separator, lines), layout
    columns = tuple(cicids.RENAMED.get(column, column) for column in fields.unique(names))
    layout = _choose(columns, name, place)
    return fields.Text(columns, separator, lines.slice(1)), layout


def _zeek(lines: pl.DataFrame, place: str) -> tuple[fields.Text, Layout]:
    """A conn.log: its ``#fields`` line names the columns; IoT-23 parts the last three by blanks instead of tabs."""
    comment = pl.col("raw").str.starts_with("#")
    named = lines.filter(pl.col("raw").str.starts_with("#fields"))
    if named.is_empty():
        raise CaptureUnreadable("a Zeek log without #fields", place=place, hint="Fetch the file again.")
    cleaned = pl.col("raw").str.replace_all(r" {3}", "\t")
    header = named.select(cleaned)["raw"][0].split("\t")[1:]
    columns = fields.unique(header)
    layout = _choose(columns, "zeek", place)
    return fields.Text(columns, "\t", lines.filter(~comment).with_columns(cleaned)), layout


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
