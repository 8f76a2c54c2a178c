"""ASAM MF4 bus logging (CANedge and others), read by asammdf: CAN_DataFrame, CAN_RemoteFrame and CAN_ErrorFrame.

Unfinished files, which is what a logger leaves, are finished in memory. Frames of several groups are merged by time.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np
import polars as pl

from candor.errors import CaptureUnreadable, ExtraMissing
from candor.ids.captures.format import Format
from candor.ids.captures.rows import RawRows

NAME: Final = "mf4"

_KINDS: Final = ("CAN_DataFrame", "CAN_RemoteFrame", "CAN_ErrorFrame")
#: Sizes of the first two blocks (ASAM MDF 4.1: IDBLOCK, HDBLOCK).
_ID_BYTES, _HEADER_BYTES = 64, 100
#: asammdf follows the file's own offsets and counts; in a damaged file it fails wherever they lead.
_ASTRAY: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_BLOCK_FRAMES = 200_000


def is_mf4(start: bytes) -> bool:
    """Whether the first bytes are those of a measurement file, finished or not."""
    return start.startswith((b"MDF     4", b"UnFinMF 4"))


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows; the line of a frame is its number. Raises CaptureUnreadable, ExtraMissing."""
    try:
        from asammdf import MDF
        from asammdf.blocks.mdf_v4 import MDF4
        from asammdf.blocks.utils import MdfException
    except ImportError as e:
        raise ExtraMissing(
            "reading MF4 needs asammdf", place=place, hint="pip install 'candor[importers]'"
        ) from e

    _quiet_destructor(MDF4)
    logging.getLogger("asammdf").setLevel(logging.CRITICAL)
    try:
        # Finishing an unfinished file writes to it, and a raw capture is never written to.
        with tempfile.TemporaryFile(prefix="candor-") as copy:
            shutil.copyfileobj(stream, copy)
            _check_start(cast(BinaryIO, copy))
            with contextlib.closing(MDF(cast(Any, copy))) as file:
                yield from _blocks(file)
    except (MdfException, struct.error, *_unpacking_errors(), *_ASTRAY) as e:
        raise CaptureUnreadable(f"MF4 cannot be read: {e}", place=place, hint="Fetch the file again.") from e


def _unpacking_errors() -> list[type[Exception]]:
    """Of whichever libraries asammdf unpacks with here."""
    found: list[type[Exception]] = [zlib.error]
    for module, name in (("isal.isal_zlib", "error"), ("zstd", "Error"), ("deflate", "DeflateError")):
        with contextlib.suppress(ImportError):
            found.append(getattr(importlib.import_module(module), name))
    return found


def _quiet_destructor(mdf4: Any) -> None:
    """Let asammdf's destructor fail in silence: it closes what a damaged file kept its constructor from opening.

    The interpreter prints such a failure on stderr, long after the file was refused with its reason.
    """
    close = mdf4.__del__
    if getattr(close, "quiet", False):
        return

    def quiet(self: Any) -> None:
        with contextlib.suppress(AttributeError):
            close(self)

    quiet.quiet = True  # type: ignore[attr-defined]
    mdf4.__del__ = quiet


def _check_start(file: BinaryIO) -> None:
    """Raise ValueError for a file too short for asammdf to close again: it would complain from its destructor."""
    file.seek(_ID_BYTES)
    if file.read(4) != b"##HD" or len(file.read(_HEADER_BYTES)) < _HEADER_BYTES:
        raise ValueError("the header block is missing")
    file.seek(0)


def _blocks(file: Any) -> Iterator[RawRows]:
    """One group is read in pieces; several are merged by time, which takes them whole."""
    start, done = file.header.start_time.timestamp(), 0
    groups = [(i, kind) for i, group in enumerate(file.groups) if (kind := _kind(group))]
    if len(groups) == 1:
        total = file.groups[groups[0][0]].channel_group.cycles_nr
        parts = (_part(file, *groups[0], start, at, _BLOCK_FRAMES) for at in range(0, total, _BLOCK_FRAMES))
    else:
        whole = [_part(file, index, kind, start, 0, None) for index, kind in groups]
        parts = (table.sort("t", maintain_order=True) for table in ([pl.concat(whole)] if whole else []))
    for table in parts:
        yield RawRows(table.with_columns(line=pl.int_range(done + 1, done + 1 + table.height)), None)
        done += table.height


def _kind(group: Any) -> str | None:
    names = {channel.name for channel in group.channels}
    return next((kind for kind in _KINDS if kind in names and group.channel_group.cycles_nr), None)


def _part(file: Any, index: int, kind: str, start: float, at: int, count: int | None) -> pl.DataFrame:
    signal = file.get(kind, group=index, raw=True, record_offset=at, record_count=count)
    return _table(signal.samples, signal.timestamps + start, kind)


def _table(samples: Any, times: Any, kind: str) -> pl.DataFrame:
    n = len(times)

    def field(name: str) -> Any:
        full = f"{kind}.{name}"
        return samples[full] if full in (samples.dtype.names or ()) else np.zeros(n, np.uint8)

    size = field("DataLength").astype(np.int64)
    data = pl.Series("data", [b""] * n, dtype=pl.Binary)
    if kind == "CAN_DataFrame":
        data = pl.Series(
            "data", [bytes(row[:length]) for row, length in zip(field("DataBytes"), size, strict=True)]
        )
    return pl.DataFrame(
        {
            "broken": np.zeros(n, bool),
            "t": times.astype(np.float64),
            "id": field("ID").astype(np.int64),
            "data": data.bin.encode("hex"),
            "dlc": pl.Series(np.minimum(field("DLC"), 8).astype(np.int64)).cast(pl.String)
            if kind == "CAN_RemoteFrame"
            else pl.repeat(None, n, dtype=pl.String, eager=True),
            "channel": pl.Series(field("BusChannel").astype(np.int64)).cast(pl.String),
            "extended": field("IDE").astype(bool),
            "remote": np.full(n, kind == "CAN_RemoteFrame"),
            "error": np.full(n, kind == "CAN_ErrorFrame"),
            "fd": field("EDL").astype(bool),
            "brs": field("BRS").astype(bool),
            "esi": field("ESI").astype(bool),
        }
    )


FORMAT: Final = Format(NAME, "ASAM MF4 (CANedge)", ".mf4", blocks=blocks, is_binary=is_mf4)
