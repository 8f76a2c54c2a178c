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
import pyarrow.compute as pc

_KINDS: Final = ("CAN_DataFrame", "CAN_RemoteFrame", "CAN_ErrorFrame")
_BLOCK_FRAMES = 200_000
_FLAGS: Final = {"extended": "IDE", "fd": "EDL", "brs": "BRS", "esi": "ESI"}
_SCHEMA: Final = pa.schema(
    {
        "t": pa.float64(),
        "id": pa.int64(),
        "data": pa.binary(),
        "dlc": pa.int64(),
        "size": pa.int64(),
        "channel": pa.int64(),
        "remote": pa.bool_(),
        "error": pa.bool_(),
        **dict.fromkeys(_FLAGS, pa.bool_()),
    }
)


def convert(raw: str, frames: str) -> None:
    """Write the frames of ``raw`` to ``frames``, those of several groups merged by time, in bounded memory."""
    from asammdf import MDF

    logging.getLogger("asammdf").setLevel(logging.CRITICAL)
    file = MDF(raw)
    with pa.OSFile(frames, "wb") as out, pa.ipc.new_stream(out, _SCHEMA) as writer:
        for table in _tables(file):
            writer.write_table(table)


def _tables(file: Any) -> Iterator[pa.Table]:
    start = file.header.start_time.timestamp()
    groups = [(i, kind) for i, group in enumerate(file.groups) if (kind := _kind(group))]
    yield from merged([_blocks(file, index, kind, start) for index, kind in groups])


def _blocks(file: Any, index: int, kind: str, start: float) -> Iterator[pa.Table]:
    for at in range(0, file.groups[index].channel_group.cycles_nr, _BLOCK_FRAMES):
        yield _table(file, index, kind, start, at, _BLOCK_FRAMES)


def merged(groups: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Blocks of several groups, each in order of time, as one such sequence; a block of each is held at a time."""
    waiting = dict(enumerate(groups))
    held: dict[int, pa.Table] = {}
    while True:
        for index in [i for i in waiting if i not in held]:
            block = next(waiting[index], None)
            if block is None:
                del waiting[index]
            elif block.num_rows:
                held[index] = block
        if any(index not in held for index in waiting):
            continue  # An empty block says nothing of what follows it.
        if not held:
            return
        # What comes later in a group is later than what is held of it.
        known = min(pc.max(held[index]["t"]).as_py() for index in (waiting or held))
        ready = []
        for index in sorted(held):
            early = pc.less_equal(held[index]["t"], known)
            ready.append(held[index].filter(early))
            rest = held.pop(index).filter(pc.invert(early))
            if rest.num_rows:
                held[index] = rest
        block = pa.concat_tables(ready)
        yield block.take(pa.array(np.argsort(block["t"].to_numpy(), kind="stable")))


def _kind(group: Any) -> str | None:
    names = {channel.name for channel in group.channels}
    return next((kind for kind in _KINDS if kind in names and group.channel_group.cycles_nr), None)


def _table(file: Any, index: int, kind: str, start: float, at: int, count: int) -> pa.Table:
    signal = file.get(kind, group=index, raw=True, record_offset=at, record_count=count)
    samples, n = signal.samples, len(signal.timestamps)

    def field(name: str) -> Any:
        full = f"{kind}.{name}"
        return samples[full] if full in (samples.dtype.names or ()) else np.zeros(n, np.uint8)

    payloads, sizes = [b""] * n, np.zeros(n, np.int64)
    # Of an error frame, some loggers keep the bytes (python-can), others nothing.
    if kind != "CAN_RemoteFrame" and f"{kind}.DataBytes" in (samples.dtype.names or ()):
        sizes = field("DataLength").astype(np.int64)
        payloads = [bytes(row[:size]) for row, size in zip(field("DataBytes"), sizes, strict=True)]
    columns = {
        "t": signal.timestamps.astype(np.float64) + start,
        "id": field("ID").astype(np.int64),
        "data": payloads,
        "dlc": field("DLC").astype(np.int64),
        "size": sizes,
        "channel": field("BusChannel").astype(np.int64),
        "remote": np.full(n, kind == "CAN_RemoteFrame"),
        "error": np.full(n, kind == "CAN_ErrorFrame"),
        **{flag: field(name).astype(bool) for flag, name in _FLAGS.items()},
    }
    return pa.table(columns, schema=_SCHEMA)


if __name__ == "__main__":
    convert(*sys.argv[1:3])
