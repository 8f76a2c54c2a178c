"""The raw formats Candor reads and writes, and how an unnamed one is recognised by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl

from candor.errors import CaptureRejected, CaptureUnreadable, SchemaMismatch
from candor.ids.captures import can_train_and_test, candump, files, hcrl_csv, hcrl_txt
from candor.ids.captures.rows import RawRows


@dataclass(frozen=True)
class Format:
    """One family of raw files.

    Attributes:
        suffix: what a written file ends with.
        labelled: whether frames carry labels.
        sniff: first non-blank lines → share of them that look like the format.
        read: file content, place for errors → raw rows.
        write: frames → file content; raises DataError for frames the format cannot hold.
    """

    name: str
    suffix: str
    labelled: bool
    sniff: Callable[[list[str]], float]
    read: Callable[[bytes, str], RawRows]
    write: Callable[[pl.DataFrame], bytes]


_CTT = can_train_and_test

FORMATS: Final = {
    f.name: f
    for f in (
        Format(_CTT.NAME, ".csv", True, _CTT.sniff, _CTT.read, _CTT.write),
        Format(hcrl_csv.NAME, ".csv", True, hcrl_csv.sniff, hcrl_csv.read, hcrl_csv.write),
        Format(hcrl_txt.NAME, ".txt", False, hcrl_txt.sniff, hcrl_txt.read, hcrl_txt.write),
        Format(candump.NAME, ".log", False, candump.sniff, candump.read, candump.write),
    )
}


def recognise(content: bytes, place: str) -> Format:
    """The format most of the first lines look like.

    Raises CaptureRejected for an empty file, SchemaMismatch for a header no format has, CaptureUnreadable otherwise.
    """
    if content.startswith(_CTT.PARQUET_MAGIC):
        return FORMATS[_CTT.NAME]
    head = files.head(content)
    if not head:
        raise CaptureRejected("the file is empty", place=place, hint="Fetch the file again.")
    score, best = max(((f.sniff(head), f) for f in FORMATS.values()), key=lambda pair: pair[0])
    if score > 0:
        return best
    known = f"Known formats: {', '.join(FORMATS)}."
    if "," in head[0] and not any(c.isdigit() for c in head[0]):
        raise SchemaMismatch(f"columns {head[0][:120]} belong to no known format", place=place, hint=known)
    raise CaptureUnreadable(f"format not recognised; it starts '{head[0][:80]}'", place=place, hint=known)
