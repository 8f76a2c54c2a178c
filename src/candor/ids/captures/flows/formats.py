"""The flow formats Candor reads, and how one is recognised by its columns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import polars as pl

from candor.errors import CaptureRejected, CaptureUnreadable, SchemaMismatch
from candor.ids.captures import files
from candor.ids.captures.flows import cicids, fields, others, unsw
from candor.ids.captures.flows.decode import Balance, Parsed, decode
from candor.ids.captures.flows.layout import Layout as Layout
from candor.ids.captures.parquet import is_parquet
from candor.ids.captures.stream import text_blocks

LAYOUTS: Final = {
    layout.name: layout
    for layout in (
        *(unsw.RAW, cicids.LABELLED_FLOWS, others.CTU13, others.ZEEK, others.NETFLOW_V2),
        *(cicids.MACHINE_LEARNING, unsw.SPLIT),
    )
}
_HINT: Final = f"Known flow formats: {', '.join(LAYOUTS)}."


#: Text is read in pieces of this size, some 28,000 rows of UNSW-NB15; about 100 MB while they are split into columns.
BLOCK_BYTES: Final = 4 << 20
#: How much of a file is looked at to find its header.
_HEAD_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Reading:
    """A file that was recognised: its layout, whether it carries labels, and its rows, part after part."""

    layout: Layout
    labelled: bool
    parts: Iterator[Parsed]


@dataclass(frozen=True)
class Read:
    """A parsed file, the layout it has, and whether it carries labels."""

    parsed: Parsed
    layout: Layout
    labelled: bool


def open_flows(
    stream: BinaryIO, place: str, *, name: str = "auto", block_bytes: int = BLOCK_BYTES
) -> Reading:
    """Recognise a file (seekable if it is Parquet) at its start; ``parts`` reads on, in bounded memory.

    What the parts hold together does not depend on where the blocks were cut.

    Raises:
        CaptureRejected: empty. SchemaMismatch, CaptureUnreadable: columns of no known format, or not of format ``name``.
    """
    start = stream.read(_HEAD_BYTES)
    if is_parquet(start):
        stream.seek(0)
        file = fields.ParquetFlows(stream, place)
        names = _renamed(file.names)
        layout = _choose(names, name, place)
        tables: Iterator[pl.DataFrame] = file.rows(names, layout.columns)
    else:
        header, layout = _header(start, place, name)
        names = header.names
        tables = (
            table
            for content, line in _numbered(text_blocks(stream, start, block_bytes))
            for table in fields.chunks(fields.read_lines(content, first_line=line), header, layout.columns)
        )
    labelled = not layout.labelled or layout.labelled in names
    return Reading(layout, labelled, (decode(table, layout, labelled=labelled) for table in tables))


def _numbered(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """Every block with the number of its first line."""
    line = 1
    for content in blocks:
        yield content, line
        line += files.newlines(content)


def read(content: bytes, place: str, *, name: str = "auto", max_quarantined_share: float = 0.5) -> Read:
    """Whole file content at once → flows in file order and quarantine.

    Raises:
        CaptureRejected: empty, no flow left, or more than ``max_quarantined_share`` of the rows malformed.
        SchemaMismatch, CaptureUnreadable: see ``open_flows``.
    """
    reading, balance = open_flows(io.BytesIO(content), place, name=name), Balance()
    parts = list(reading.parts)
    for part in parts:
        balance.add(part)
    balance.judge(place, max_quarantined_share)
    parsed = Parsed(pl.concat([p.flows for p in parts]), pl.concat([p.quarantined for p in parts]))
    return Read(parsed, reading.layout, reading.labelled)


def _renamed(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the first release of CICIDS2017 by those of the second, unless the file has both."""
    new = {old: new for old, new in cicids.RENAMED.items() if new not in names}
    return tuple(new.get(name, name) for name in names)


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


def _header(start: bytes, place: str, name: str) -> tuple[fields.Header, Layout]:
    lines = fields.read_lines(start)
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
            return fields.Header(layout.headerless, separator), layout
    columns = _renamed(fields.unique(names))
    layout = _choose(columns, name, place)
    return fields.Header(columns, separator, int(lines["line"][0])), layout


def _zeek(lines: pl.DataFrame, place: str) -> tuple[fields.Header, Layout]:
    """A conn.log: its ``#fields`` line names the columns; IoT-23 parts the last three by blanks instead of tabs."""
    header = fields.Header((), "\t", comment="#", blanks=3)
    named = lines.filter(pl.col("raw").str.starts_with("#fields"))
    if named.is_empty():
        raise CaptureUnreadable("a Zeek log without #fields", place=place, hint="Fetch the file again.")
    columns = fields.unique(named.select(fields.parted(header))["raw"][0].split("\t")[1:])
    return replace(header, names=columns), _choose(columns, "zeek", place)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
