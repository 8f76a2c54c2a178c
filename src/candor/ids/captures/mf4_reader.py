"""``python mf4_reader.py RAW.mf4 FRAMES.arrow``: the CAN frames of an MF4 as an Arrow stream. See mf4.py.

A script of its own that imports nothing of candor, so that it starts fast. RAW is finished in place if it is unfinished.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

_KINDS: Final = ("CAN_DataFrame", "CAN_RemoteFrame", "CAN_ErrorFrame")
_BLOCK_FRAMES = 200_000
_FLAGS: Final = {"extended": "IDE", "fd": "EDL", "brs": "BRS", "esi": "ESI"}
_SCHEMA: Final = pa.schema(
    {
        "t": pa.float64(),
        "id": pa.int64(),
        "data": pa.binary(),
        "dlc": pa.int64(),
        "channel": pa.int64(),
        "remote": pa.bool_(),
        "error": pa.bool_(),
        **dict.fromkeys(_FLAGS, pa.bool_()),
    }
)


def convert(raw: str, frames: str) -> None:
    """Write the frames of ``raw`` to ``frames``, in pieces where one group holds them all, else merged by time."""
    from asammdf import MDF

    logging.getLogger("asammdf").setLevel(logging.CRITICAL)
    file = MDF(raw)
    with pa.OSFile(frames, "wb") as out, pa.ipc.new_stream(out, _SCHEMA) as writer:
        for table in _tables(file):
            writer.write_table(table)


def _tables(file: Any) -> Iterator[pa.Table]:
    start = file.header.start_time.timestamp()
    groups = [(i, kind) for i, group in enumerate(file.groups) if (kind := _kind(group))]
    if len(groups) == 1:
        index, kind = groups[0]
        for at in range(0, file.groups[index].channel_group.cycles_nr, _BLOCK_FRAMES):
            yield _table(file, index, kind, start, at, _BLOCK_FRAMES)
    elif groups:
        merged = pa.concat_tables([_table(file, index, kind, start, 0, None) for index, kind in groups])
        yield merged.take(pa.array(np.argsort(merged["t"].to_numpy(), kind="stable")))


def _kind(group: Any) -> str | None:
    names = {channel.name for channel in group.channels}
    return next((kind for kind in _KINDS if kind in names and group.channel_group.cycles_nr), None)


def _table(file: Any, index: int, kind: str, start: float, at: int, count: int | None) -> pa.Table:
    signal = file.get(kind, group=index, raw=True, record_offset=at, record_count=count)
    samples, n = signal.samples, len(signal.timestamps)

    def field(name: str) -> Any:
        full = f"{kind}.{name}"
        return samples[full] if full in (samples.dtype.names or ()) else np.zeros(n, np.uint8)

    payloads = [b""] * n
    if kind == "CAN_DataFrame":
        sizes = field("DataLength").astype(np.int64)
        payloads = [bytes(row[:size]) for row, size in zip(field("DataBytes"), sizes, strict=True)]
    columns = {
        "t": signal.timestamps.astype(np.float64) + start,
        "id": field("ID").astype(np.int64),
        "data": payloads,
        "dlc": field("DLC").astype(np.int64),
        "channel": field("BusChannel").astype(np.int64),
        "remote": np.full(n, kind == "CAN_RemoteFrame"),
        "error": np.full(n, kind == "CAN_ErrorFrame"),
        **{flag: field(name).astype(bool) for flag, name in _FLAGS.items()},
    }
    return pa.table(columns, schema=_SCHEMA)


if __name__ == "__main__":
    convert(*sys.argv[1:3])
