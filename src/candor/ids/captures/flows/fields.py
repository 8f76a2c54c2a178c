"""Text and Parquet to tables of strings, and the expressions that read numbers, ports and protocols out of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import polars as pl
import pyarrow as pa

from candor.errors import SchemaMismatch
from candor.ids.captures import parquet

#: Rows split into columns at a time: 49 columns of strings of a whole UNSW file would be 3 GB.
CHUNK_ROWS: Final = 50_000

#: Protocol names of Argus, Zeek and NetFlow, by IANA number.
PROTOCOLS: Final = {
    "hopopt": 0,
    "icmp": 1,
    "igmp": 2,
    "ggp": 3,
    "ipip": 4,
    "ipv4": 4,
    "st2": 5,
    "tcp": 6,
    "cbt": 7,
    "egp": 8,
    "igp": 9,
    "udp": 17,
    "rdp": 27,
    "dccp": 33,
    "ipv6": 41,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmp6": 58,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "eigrp": 88,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "udplite": 136,
}
OTHER_PROTOCOL: Final = 255
#: How tools write "nothing".
_NOTHING: Final = ("", "-", "(empty)", "?")


@dataclass(frozen=True)
class Header:
    """What the start of a text file says of the rest.

    Attributes:
        names: of the columns. lines: how many at the start hold no flow.
        comment: starts lines that are none. blanks: a run of this many blanks parts columns too (IoT-23).
    """

    names: tuple[str, ...]
    separator: str
    lines: int = 0
    comment: str = ""
    blanks: int = 0


def normal(name: str) -> str:
    """``" Flow Bytes/s"`` → ``flow_bytes_s``; ``id.orig_h`` → ``id_orig_h``."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def unique(names: list[str]) -> tuple[str, ...]:
    """Normal names; a name that recurs gets a number (CICIDS2017 has ``Fwd Header Length`` twice)."""
    seen: dict[str, int] = {}
    found = []
    for name in map(normal, names):
        count = seen[name] = seen.get(name, -1) + 1
        found.append(f"{name}_{count}" if count else name)
    return tuple(found)


def decode_text(content: bytes) -> str:
    """UTF-8; a line that is not is Windows-1252, in which CICIDS2017 writes the dash of its web attacks."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return "\n".join(map(_decode_line, content.split(b"\n")))


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def read_lines(content: bytes, *, first_line: int = 1) -> pl.DataFrame:
    """Non-blank lines: line (i64, from ``first_line``) and raw, without carriage return and outer blanks."""
    text = decode_text(content)
    text = text.removeprefix("\ufeff") if first_line == 1 else text
    table = pl.DataFrame({"raw": [text]}).select(pl.col("raw").str.split("\n").explode())
    table = table.with_row_index("line", offset=first_line).with_columns(
        pl.col("line").cast(pl.Int64), pl.col("raw").str.strip_chars("\r \t\0")
    )
    return table.filter(pl.col("raw") != "")


def parted(header: Header) -> pl.Expr:
    """The line with the file's separator wherever columns part."""
    raw = pl.col("raw")
    return raw.str.replace_all(f" {{{header.blanks}}}", header.separator) if header.blanks else raw


def chunks(lines: pl.DataFrame, header: Header, needed: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Tables of line, raw, broken (wrong number of fields), empty (separators only) and the needed columns as strings.

    A needed column that the file does not have is null.
    """
    kept = lines.filter(pl.col("line") > header.lines)
    if header.comment:
        kept = kept.filter(~pl.col("raw").str.starts_with(header.comment))
    for part in kept.with_columns(raw=parted(header)).iter_slices(CHUNK_ROWS):
        split = part.with_columns(fields=pl.col("raw").str.split(header.separator))
        columns = [
            _cell(pl.col("fields").list.get(header.names.index(name), null_on_oob=True)).alias(name)
            if name in header.names
            else pl.lit(None, pl.String).alias(name)
            for name in needed
        ]
        yield split.select(
            "line",
            "raw",
            (pl.col("fields").list.len() != len(header.names)).alias("broken"),
            pl.col("raw").str.strip_chars(header.separator + " \t").eq("").alias("empty"),
            *columns,
        )


class ParquetFlows:
    """A Parquet file of flows with normal column names, read a batch at a time. Raises CaptureUnreadable."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._place = place
        self._file = parquet.open_file(stream, place)
        self._stored = self._file.schema_arrow.names
        self.names = unique(list(self._stored))

    def rows(self, names: tuple[str, ...], needed: tuple[str, ...]) -> Iterator[pl.DataFrame]:
        """The same columns as ``chunks``; every value as the string it would be in a CSV. ``names``: of the columns."""
        wanted = [stored for stored, name in zip(self._stored, names, strict=True) if name in needed]
        kept = [name for name in names if name in needed]
        done = 0
        try:
            for batch in self._file.iter_batches(CHUNK_ROWS, columns=wanted):
                table = parquet.as_table(batch)
                yield _as_text(
                    table.select(wanted).rename(dict(zip(wanted, kept, strict=True))),
                    needed,
                    done,
                    self._place,
                )
                done += table.height
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError, UnicodeDecodeError) as e:
            raise parquet.unreadable(e, self._place) from e


def _as_text(table: pl.DataFrame, needed: tuple[str, ...], done: int, place: str) -> pl.DataFrame:
    columns = []
    for name in needed:
        if name not in table.columns:
            columns.append(pl.lit(None, pl.String).alias(name))
        elif table.schema[name].is_nested() or table.schema[name] == pl.Binary:
            raise SchemaMismatch(f"column '{name}' has type {table.schema[name]}", place=place)
        else:
            columns.append(_cell(pl.col(name).cast(pl.String)).alias(name))
    rows = table.select(columns).with_row_index("line", offset=done + 1)
    raw = pl.concat_str([pl.col(n).fill_null("") for n in needed], separator=",")
    nothing = pl.all_horizontal(pl.col(n).is_null() for n in needed)
    return rows.select(
        pl.col("line").cast(pl.Int64),
        raw.alias("raw"),
        pl.lit(False).alias("broken"),
        nothing.alias("empty"),
        *needed,
    )


def _cell(value: pl.Expr) -> pl.Expr:
    """Outer blanks and quotes stripped; null for what stands for nothing."""
    clean = value.str.strip_chars(' \t"')
    return pl.when(~clean.is_in(_NOTHING)).then(clean)


def number(name: str) -> pl.Expr:
    """The column as f64; null where it is no number."""
    return pl.col(name).cast(pl.Float64, strict=False)


def whole(name: str) -> pl.Expr:
    """The column as i64; null where it is no whole number. ``0x`` is hexadecimal: Argus writes ICMP types so."""
    text = pl.col(name)
    hexadecimal = text.str.extract(r"^0[xX]([0-9a-fA-F]{1,8})$", 1).str.to_integer(base=16, strict=False)
    decimal = text.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    return pl.coalesce(hexadecimal, decimal)


def protocol(name: str) -> pl.Expr:
    """IANA number of a protocol given by name or number."""
    text = pl.col(name).str.to_lowercase()
    given = text.cast(pl.Int64, strict=False)
    named = text.replace_strict(PROTOCOLS, default=OTHER_PROTOCOL, return_dtype=pl.Int64)
    return pl.when(given.is_between(0, 255)).then(given).otherwise(named).fill_null(OTHER_PROTOCOL)


def family(text: pl.Expr) -> pl.Expr:
    """``" Fuzzers"`` → ``fuzzers``, ``Web Attack – XSS`` → ``web_attack_xss``."""
    return text.str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "_").str.strip_chars("_")
