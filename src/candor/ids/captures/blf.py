"""Vector BLF, read by python-can. Objects that are no CAN frames are skipped by it and not counted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, Final

import polars as pl

from candor.errors import CaptureUnreadable, ExtraMissing
from candor.ids.captures.format import Format
from candor.ids.captures.rows import RawRows

NAME: Final = "blf"
MAGIC: Final = b"LOGG"
_BLOCK_FRAMES = 100_000
_HEADER_BYTES = 16


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows; the line of a frame is its number. Raises CaptureUnreadable, ExtraMissing."""
    try:
        from can.io.blf import BLFParseError, BLFReader
    except ImportError as e:
        raise ExtraMissing(
            "reading BLF needs python-can", place=place, hint="pip install 'candor[importers]'"
        ) from e

    class Reader(BLFReader):
        def _parse_data(self, data: bytes) -> Iterator[Any]:
            if _stands_still(data):
                raise BLFParseError("an object is shorter than its own header")
            yield from super()._parse_data(data)

    done = 0
    try:
        messages = iter(Reader(stream))
        while batch := list(islice(messages, _BLOCK_FRAMES)):
            yield RawRows(_table(batch, done), None)
            done += len(batch)
    except (
        BLFParseError,
        struct.error,
        zlib.error,
        ValueError,
        IndexError,
        KeyError,
        EOFError,
        OSError,
    ) as e:
        # What python-can lets through where lengths and offsets of a damaged file do not fit.
        raise CaptureUnreadable(
            f"BLF is damaged behind frame {done}: {e}", place=place, hint="Fetch the file again."
        ) from e


def _stands_still(data: bytes) -> bool:
    """Whether an object's length leads nowhere: python-can follows such a one for ever (found by fuzzing)."""
    at = 0
    while (at := data.find(b"LOBJ", at, at + 8)) >= 0 and at + _HEADER_BYTES <= len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        if size < _HEADER_BYTES:
            return True
        at += size
    return False


def _table(batch: list[Any], done: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "line": range(done + 1, done + len(batch) + 1),
            "broken": [False] * len(batch),
            "t": [m.timestamp for m in batch],
            "id": [m.arbitration_id for m in batch],
            "data": [b"" if m.is_remote_frame else bytes(m.data) for m in batch],
            "dlc": [str(min(m.dlc, 8)) if m.is_remote_frame else None for m in batch],
            "channel": [str(m.channel) for m in batch],
            "extended": [m.is_extended_id for m in batch],
            "remote": [m.is_remote_frame for m in batch],
            "error": [m.is_error_frame for m in batch],
            "fd": [m.is_fd for m in batch],
            "brs": [m.bitrate_switch for m in batch],
            "esi": [m.error_state_indicator for m in batch],
        },
        schema_overrides={"line": pl.Int64, "t": pl.Float64, "id": pl.Int64, "dlc": pl.String},
    ).with_columns(pl.col("data").bin.encode("hex"))


FORMAT: Final = Format(
    NAME, "Vector BLF", ".blf", blocks=blocks, is_binary=lambda start: start.startswith(MAGIC)
)
