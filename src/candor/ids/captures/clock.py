"""Time that runs backwards: which frames to set aside, judged across the blocks of a stream.

The verdict on a frame needs the few that follow it, so the last ones of a block wait for the next. What comes out does
not depend on where the blocks were cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import polars as pl

from candor.ids.captures import quarantine

#: How far to look ahead to tell one time that jumped forward from a clock that was set back.
_LOOKAHEAD_ROWS = 5

#: Line numbers → raw text of those lines, for readers that do not carry it with every frame.
Lookup: TypeAlias = Callable[[list[int]], list[str]]

_LATE = pl.DataFrame(schema=quarantine.SCHEMA)


class Clock:
    """Sets aside frames whose time runs backwards by more than ``max_backstep_s``.

    One time that jumps ahead would make every later frame look late, so a frame is first compared with the median of
    the frames that follow it. Smaller steps back are left alone and counted: loggers with several buffers make them.

    Attributes:
        reversals: steps back between kept neighbours so far.
    """

    def __init__(self, max_backstep_s: float) -> None:
        self._limit = max_backstep_s
        self._waiting: pl.DataFrame | None = None
        self._latest = -np.inf
        self._last = -np.inf
        self.reversals = 0

    def push(
        self, frames: pl.DataFrame, *, text: Lookup | None = None, final: bool = False
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Take the next checked frames; give those that are settled, and quarantined rows.

        ``text`` knows the raw text of ``frames`` whose raw is null.
        """
        table = frames if self._waiting is None else pl.concat([self._waiting, frames])
        settled = table.height if final else max(table.height - _LOOKAHEAD_ROWS, 0)
        self._waiting = _with_text(table[settled:], text)
        times = table["timestamp"].to_numpy()
        if settled and times[0] >= self._latest and (times[1:] >= times[:-1]).all():
            self._latest = self._last = float(times[settled - 1])
            return table[:settled], _LATE
        peaks = np.maximum.accumulate(np.concatenate([[self._latest], times]))[1:]
        # An early or late frame always lies more than the limit below an earlier one.
        if not len(times) or float((peaks - times).max()) <= self._limit:
            self._latest = float(peaks[settled - 1]) if settled else self._latest
            return self._keep(table[:settled]), _LATE
        return self._judge(table, settled, text)

    def _judge(
        self, table: pl.DataFrame, settled: int, text: Lookup | None
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        time = pl.col("timestamp")
        following = time.reverse().shift(1).rolling_median(_LOOKAHEAD_ROWS, min_samples=1).reverse()
        judged = table.with_columns(ahead=(time > following + self._limit).fill_null(False))
        peak = pl.when(~pl.col("ahead")).then(time).cum_max().forward_fill()
        latest = pl.max_horizontal(peak, pl.lit(self._latest))
        judged = judged.with_columns(latest=latest)[:settled]
        reason = (
            pl.when("ahead")
            .then(pl.lit("time_ahead"))
            .when(time < pl.col("latest") - self._limit)
            .then(pl.lit("time_backwards"))
        )
        judged = judged.with_columns(reason=reason)
        if settled:
            self._latest = float(judged["latest"][-1])
        late = _with_text(judged.filter(pl.col("reason").is_not_null()), text)
        return self._keep(judged.filter(pl.col("reason").is_null()).select(table.columns)), _quarantined(late)

    def _keep(self, good: pl.DataFrame) -> pl.DataFrame:
        if good.height:
            times = good["timestamp"].to_numpy()
            self.reversals += int((np.diff(times, prepend=self._last) < 0).sum())
            self._last = float(times[-1])
        return good


def _with_text(frames: pl.DataFrame, text: Lookup | None) -> pl.DataFrame:
    """Fill in raw where it is null."""
    lines = frames.filter(pl.col("raw").is_null())["line"].to_list()
    if text is None or not lines:
        return frames
    known = pl.DataFrame({"line": lines, "text": text(lines)})
    joined = frames.join(known, on="line", how="left", maintain_order="left")
    return joined.with_columns(raw=pl.coalesce("raw", "text")).drop("text")


def _quarantined(late: pl.DataFrame) -> pl.DataFrame:
    fields = pl.concat_str(
        [pl.col("timestamp").cast(pl.String), pl.col("id").cast(pl.String), pl.col("data").bin.encode("hex")],
        separator=",",
    )
    raw = pl.coalesce("raw", fields).str.slice(0, quarantine.RAW_CHARS)
    return late.select("line", "reason", raw=raw)
