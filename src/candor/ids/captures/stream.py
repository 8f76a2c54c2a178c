"""A raw file of any size → validated frames and quarantine, a block at a time, in bounded memory.

What comes out does not depend on where the blocks were cut.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import polars as pl

from candor.ids.captures import fast, files, quarantine
from candor.ids.captures import frames as fr
from candor.ids.captures.clock import Clock, Lookup
from candor.ids.captures.format import UNTIMED_STEP_S, Format, Opened
from candor.ids.captures.rows import Checked, Parsed, RawRows, check

#: Text is read in pieces of this size, 90,000 frames of a candump: smaller ones cost more for each, larger ones leave
#: the cache.
BLOCK_BYTES = 4 << 20
#: How much of a file is looked at to find its header.
_HEAD_BYTES = 1 << 16

_NONE_SET_ASIDE = pl.DataFrame(schema=quarantine.SCHEMA)
_NO_FRAMES = pl.DataFrame(schema={"line": pl.Int64, "raw": pl.String, **fr.COLUMNS})


@dataclass(frozen=True)
class Batch:
    """Some frames of a capture, in order, and the rows set aside meanwhile.

    Attributes:
        time_reversals: small steps back in time since the start of the file.
    """

    frames: pl.DataFrame
    quarantined: pl.DataFrame
    time_reversals: int


def batches(
    stream: BinaryIO, kind: Format, place: str, *, max_backstep_s: float, block_bytes: int = BLOCK_BYTES
) -> Iterator[Batch]:
    """Read a file (seekable where the format is binary) from its start.

    Raises CaptureUnreadable for a damaged file, SchemaMismatch for missing columns.
    """
    start = stream.read(_HEAD_BYTES)
    clock = Clock(max_backstep_s)
    if kind.open is None or kind.is_binary(start):
        stream.seek(0)
        checked = _binary(stream, kind, place)
    else:
        checked = _text(stream, start, kind, place, block_bytes)
    for block, text in checked:
        frames, late = clock.push(block.frames, text=text)
        yield _batch(frames, pl.concat([block.quarantined, late]), clock, place)
    frames, late = clock.push(_NO_FRAMES, final=True)
    yield _batch(frames, late, clock, place)


def parse(content: bytes, kind: Format, place: str, *, max_backstep_s: float) -> Parsed:
    """Whole file at once."""
    parts = list(batches(io.BytesIO(content), kind, place, max_backstep_s=max_backstep_s))
    quarantined = pl.concat([part.quarantined for part in parts]).sort("line", maintain_order=True)
    return Parsed(pl.concat([part.frames for part in parts]), quarantined, parts[-1].time_reversals)


def _batch(frames: pl.DataFrame, quarantined: pl.DataFrame, clock: Clock, place: str) -> Batch:
    table = fr.validate(frames.select(list(fr.COLUMNS)), place=place)
    return Batch(table, quarantined.sort("line", maintain_order=True), clock.reversals)


def _binary(stream: BinaryIO, kind: Format, place: str) -> Iterator[tuple[Checked, Lookup | None]]:
    assert kind.blocks is not None  # A format has lines or blocks.
    for raw in kind.blocks(stream, place):
        yield check(raw if kind.timed else untimed(raw)), None


def _text(
    stream: BinaryIO, start: bytes, kind: Format, place: str, block_bytes: int
) -> Iterator[tuple[Checked, Lookup | None]]:
    assert kind.open is not None
    opened = kind.open(files.lines(start), place)
    line = 1
    for content in text_blocks(stream, start, block_bytes):
        if opened.fast:
            plain = fast.read(content, line, opened.fast)
            line += plain.lines
            yield _with_rest(plain, kind, opened), plain.text
        else:
            checked = _careful(files.lines(content, first_line=line), kind, opened)
            line += files.newlines(content)
            yield checked, None


def _with_rest(plain: fast.Plain, kind: Format, opened: Opened) -> Checked:
    """The frames a kernel took, and those of the lines it left."""
    if plain.rest.is_empty():  # As in almost every block: reading nothing the careful way costs milliseconds.
        return Checked(plain.frames, _NONE_SET_ASIDE)
    careful = _careful(plain.rest, kind, opened)
    frames = plain.frames
    if careful.frames.height:
        frames = pl.concat([frames, careful.frames]).sort("line", maintain_order=True)
    return Checked(frames, careful.quarantined)


def _careful(lines: pl.DataFrame, kind: Format, opened: Opened) -> Checked:
    if opened.header_lines:
        lines = lines.filter(pl.col("line") > opened.header_lines)
    if kind.comment:
        lines = lines.filter(~pl.col("raw").str.contains(kind.comment))
    raw = opened.read(lines)
    return check(raw if kind.timed else untimed(raw))


def untimed(raw: RawRows) -> RawRows:
    """Give rows without timestamps the ordinal time described at UNTIMED_STEP_S."""
    return RawRows(raw.table.with_columns(t=pl.col("line") * UNTIMED_STEP_S), raw.labels)


def text_blocks(stream: BinaryIO, start: bytes, block_bytes: int) -> Iterator[bytes]:
    """Whole lines, about ``block_bytes`` at a time; ``start`` was read already.

    A line longer than a block (a binary file taken for text) is cut, so that memory stays bounded.
    """
    waiting = start
    while True:
        piece = stream.read(max(block_bytes - len(waiting), 1))
        if not piece:
            break
        cut = piece.rfind(b"\n") + 1
        if len(waiting) + len(piece) < block_bytes:
            waiting += piece
        elif cut:
            yield b"".join((waiting, memoryview(piece)[:cut]))
            waiting = piece[cut:]
        else:
            waiting += piece
            cut = waiting.rfind(b"\n") + 1 or len(waiting)
            yield waiting[:cut]
            waiting = waiting[cut:]
    if waiting:
        yield waiting
