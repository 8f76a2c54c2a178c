"""Plain lines of the text formats that are read in bulk, parsed by compiled kernels straight from the bytes.

A kernel takes a line only if nothing about it is unusual; every other line is handed back and goes the careful way,
so the kernels decide nothing about what is valid. 6 to 10 times faster than the regular expressions they stand in for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from candor.ids.captures import files
from candor.ids.captures import frames as fr
from candor.ids.captures.fast_kernels import MAX_CHANNELS, PADDING, UNLABELLED, scan
from candor.ids.captures.format import FastLayout


@dataclass(frozen=True)
class Plain:
    """What a kernel took of one block, and what it left.

    Attributes:
        frames: columns line, raw (null), then those of a frame table.
        rest: line and raw of the lines it left.
        lines: how many ended in the block.
    """

    frames: pl.DataFrame
    rest: pl.DataFrame
    lines: int
    _content: bytes
    _spans: NDArray[np.int64]

    def text(self, lines: list[int]) -> list[str]:
        """The raw text of lines the kernel took."""
        at = np.searchsorted(self._spans[0], lines)
        return [
            self._content[a:b].decode("ascii", errors="replace").strip()
            for a, b in zip(self._spans[1, at], self._spans[2, at], strict=True)
        ]


#: As the kernel numbers them.
_LAYOUTS: Final = ("candump", "can_train_and_test", "hcrl_csv", "python_can_csv")


def read(content: bytes, first_line: int, layout: FastLayout) -> Plain:
    """Whole lines of a block, the first one numbered ``first_line`` → frames, and lines left over."""
    if first_line == 1:
        content = content.removeprefix(b"\xef\xbb\xbf")
    buf = np.zeros(len(content) + PADDING, dtype=np.uint8)
    buf[: len(content)] = np.frombuffer(content, dtype=np.uint8)
    lines = files.newlines(content)
    n = lines + 1
    out = (
        np.empty(n, np.float64),
        np.empty(n, np.uint32),
        np.empty(n, np.uint8),
        np.empty(n, np.uint8),
        np.empty(n, np.uint8),
    )
    spans, rest = np.empty((3, n), np.int64), np.empty((3, n), np.int64)
    payload, ends = np.empty(8 * n, np.uint8), np.zeros(n + 1, np.int32)
    channels = np.zeros((MAX_CHANNELS + 1, 2), np.int64)
    k, r = scan(_LAYOUTS.index(layout), buf, first_line, spans, rest, out, payload, ends, channels)
    names = [content[a : a + size].decode("ascii") for a, size in channels[1 : 1 + channels[0, 0]]] or [""]
    table = _table(spans[0, :k], tuple(column[:k] for column in out), payload, ends[: k + 1], names)
    return Plain(table, _left_over(content, rest[:, :r]), lines, content, spans[:, :k])


def _table(
    lines: NDArray[np.int64],
    out: tuple[NDArray[Any], ...],
    payload: NDArray[np.uint8],
    ends: NDArray[np.int32],
    names: list[str],
) -> pl.DataFrame:
    t, ident, flags, label, channel = out
    k = len(lines)
    data = pa.Array.from_buffers(pa.binary(), k, [None, pa.py_buffer(ends), pa.py_buffer(payload)])
    labels = pl.Series("label", label)
    if k and label[0] == UNLABELLED:
        labels = pl.repeat(None, k, dtype=pl.UInt8, eager=True)
    attack = pl.repeat("", k, eager=True)
    if (labels == 1).any():
        attack = pl.Series("attack", ["", "attack"]).gather(labels.fill_null(0))
    return pl.DataFrame(
        {
            "line": lines,
            "raw": pl.repeat(None, k, dtype=pl.String, eager=True),
            "timestamp": t,
            "id": ident,
            "data": pl.Series("data", pl.from_arrow(data), dtype=pl.Binary),
            "dlc": np.diff(ends).astype(np.uint8),
            "label": labels,
            "attack": attack,
            "flags": flags * np.uint8(fr.EXTENDED),
            "channel": pl.repeat(names[0], k, eager=True)
            if len(names) == 1
            else pl.Series("channel", names).gather(channel),
        }
    )


def _left_over(content: bytes, rest: NDArray[np.int64]) -> pl.DataFrame:
    """Line and raw of lines by span, as files.lines gives them."""
    text = [content[a:b].decode("utf-8", errors="replace") for a, b in zip(rest[1], rest[2], strict=True)]
    table = pl.DataFrame({"line": rest[0], "raw": pl.Series("raw", text, dtype=pl.String).str.strip_chars()})
    return table.filter(pl.col("raw") != "")
