"""ASAM MF4 bus logging (CANedge and others), read by asammdf: CAN_DataFrame, CAN_RemoteFrame and CAN_ErrorFrame.

Unfinished files, which is what a logger leaves, are finished in memory. Frames of several groups are merged by time.
"""

from __future__ import annotations

import contextlib
import logging
import struct
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
_BLOCK_FRAMES = 200_000


def is_mf4(start: bytes) -> bool:
    """Whether the first bytes are those of a measurement file, finished or not."""
    return start.startswith((b"MDF     4", b"UnFinMF 4"))


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows; the line of a frame is its number. Raises CaptureUnreadable, ExtraMissing."""
    try:
        from asammdf import MDF
        from asammdf.blocks.utils import MdfException
    except ImportError as e:
        raise ExtraMissing(
            "reading MF4 needs asammdf", place=place, hint="pip install 'candor[importers]'"
        ) from e
    logging.getLogger("asammdf").setLevel(logging.ERROR)
    try:
        with contextlib.closing(MDF(cast(Any, stream))) as file:
            table = _frames(file)
    except (
        MdfException,
        struct.error,
        zlib.error,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OSError,
    ) as e:
        # asammdf follows the file's own offsets; a damaged one fails wherever they lead.
        raise CaptureUnreadable(f"MF4 cannot be read: {e}", place=place, hint="Fetch the file again.") from e
    for at in range(0, table.height, _BLOCK_FRAMES):
        yield RawRows(table[at : at + _BLOCK_FRAMES], None)


def _frames(file: Any) -> pl.DataFrame:
    start = file.header.start_time.timestamp()
    parts = []
    for index, group in enumerate(file.groups):
        names = {channel.name for channel in group.channels}
        kind = next((kind for kind in _KINDS if kind in names), None)
        if kind and group.channel_group.cycles_nr:
            signal = file.get(kind, group=index, raw=True)
            parts.append(_table(signal.samples, signal.timestamps + start, kind))
    if not parts:
        return pl.DataFrame(
            schema={
                "line": pl.Int64,
                "broken": pl.Boolean,
                "t": pl.Float64,
                "id": pl.Int64,
                "data": pl.String,
            }
        )
    table = pl.concat(parts).sort("t", maintain_order=True)
    return table.with_row_index("line", offset=1).with_columns(pl.col("line").cast(pl.Int64))


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
