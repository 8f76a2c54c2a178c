"""What a raw format is: how it looks, and how its lines or bytes become raw rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, TypeAlias

import polars as pl

from candor.ids.captures.rows import RawRows

#: Lines (columns line, raw), blank ones, comments and header dropped → raw rows. Called once per block, in order.
LineReader: TypeAlias = Callable[[pl.DataFrame], RawRows]

#: Layouts of lines that a compiled kernel reads; every other line goes to the format's LineReader.
FastLayout: TypeAlias = Literal["", "candump", "can_train_and_test", "hcrl_csv", "python_can_csv"]

#: Formats without timestamps get the line number times this, in s. The step is constant, so that no feature of time
#: can tell an attack; what is derived from it (durations, rates, false alarms per hour) means nothing.
UNTIMED_STEP_S: Final = 0.001


@dataclass(frozen=True)
class Opened:
    """A text format after its header was read.

    Attributes:
        read: reader of the lines below the header; may keep state from block to block.
        header_lines: number of the last header line (blank lines count), 0 without one.
        fast: layout of plain lines, if a kernel knows it.
    """

    read: LineReader
    header_lines: int = 0
    fast: FastLayout = ""


@dataclass(frozen=True)
class Format:
    """One family of raw files: text (``open``), binary (``blocks``), or both.

    Attributes:
        title: what people call it.
        suffix: what a written file ends with.
        labelled: whether frames carry labels.
        sniff: first non-blank lines → share of them that look like the format.
        open: first lines of the file (columns line, raw), place for errors → reader.
        blocks: seekable file, place for errors → raw rows, a block at a time.
        is_binary: whether the first bytes are those of the binary variant.
        write: frames → file content; raises DataError for frames the format cannot hold. None: read only.
        comment: pattern of lines that are no rows.
        timed: whether the format has timestamps; if not, see UNTIMED_STEP_S.
    """

    name: str
    title: str
    suffix: str
    labelled: bool = False
    sniff: Callable[[list[str]], float] = lambda head: 0.0
    open: Callable[[pl.DataFrame, str], Opened] | None = None
    blocks: Callable[[BinaryIO, str], Iterator[RawRows]] | None = None
    is_binary: Callable[[bytes], bool] = lambda start: False
    write: Callable[[pl.DataFrame], bytes] | None = None
    comment: str = ""
    timed: bool = True


def share(head: list[str], looks: Callable[[str], object]) -> float:
    """Share of the first lines that look like a format."""
    return sum(bool(looks(line)) for line in head) / max(len(head), 1)


def groups(table: pl.DataFrame, pattern: str) -> pl.DataFrame:
    """Columns line and raw, and one per named group of ``pattern``; null where the line does not match."""
    return table.with_columns(pl.col("raw").str.extract_groups(pattern).alias("groups")).unnest("groups")


def squeeze(text: pl.Expr) -> pl.Expr:
    """Hexadecimal digits without the blanks between them."""
    return text.str.replace_all(r"\s+", "")


def micros(text: pl.Expr, scale: float = 1e6) -> pl.Expr:
    """Decimal text times ``scale`` as whole microseconds; null where it is no finite number.

    Sums of whole microseconds divided once (see seconds) give the same double whichever way they were written.
    """
    value = text.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(value.is_finite() & (value.abs() < 1e12)).then((value * scale).round().cast(pl.Int64))


def seconds(whole_micros: pl.Series) -> pl.Series:
    """Whole microseconds → seconds, correctly rounded; null stays null. Polars would multiply by the reciprocal."""
    values = whole_micros.cast(pl.Float64).to_numpy() / 1e6
    return pl.Series(whole_micros.name, values).fill_nan(None)


def as_seconds(whole_micros: pl.Expr) -> pl.Expr:
    """As seconds, of an expression."""
    return whole_micros.map_batches(seconds, return_dtype=pl.Float64)
