"""Sorting more rows than memory holds: sorted runs on disk, merged a few rows at a time.

Flow files are written when a flow ends, so they are nearly sorted by start, and UNSW-NB15 is four files that overlap.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from candor.ids.captures.tables import TableWriter, read_in_pieces

#: Rows sorted at once, and rows of each run held while runs are merged: 16 × 8,192 of about 300 B.
RUN_ROWS: Final = 100_000
STEP_ROWS: Final = 8_192
#: Runs merged at once; more of them are merged in rounds, so that memory does not grow with their number.
FAN_IN: Final = 16


class Sorter:
    """Takes tables in any order and gives their rows back in order of ``key`` (columns without null or NaN).

    ``folder`` is emptied first and holds the runs.
    """

    def __init__(self, folder: Path, key: Sequence[str], *, run_rows: int = RUN_ROWS) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._key, self._run_rows = folder, tuple(key), run_rows
        self._waiting: list[pl.DataFrame] = []
        self._held = 0
        self._runs: list[Path] = []
        self._written = 0

    def add(self, table: pl.DataFrame) -> None:
        """Take some rows."""
        if table.is_empty():
            return
        self._waiting.append(table)
        self._held += table.height
        if self._held >= self._run_rows:
            self._flush()

    def merged(self) -> Iterator[pl.DataFrame]:
        """All rows in order, some thousand at a time. Ends the sorter: its runs are gone afterwards."""
        self._flush()
        while len(self._runs) > FAN_IN:
            group, self._runs = self._runs[:FAN_IN], self._runs[FAN_IN:]
            self._write(merge(group, self._key))
            for run in group:
                run.unlink()
        yield from merge(self._runs, self._key)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _flush(self) -> None:
        if self._waiting:
            table = pl.concat(self._waiting).sort(self._key, maintain_order=True)
            self._waiting, self._held = [], 0
            self._write(table.iter_slices(STEP_ROWS))

    def _write(self, tables: Iterator[pl.DataFrame]) -> None:
        path = self._folder / f"{self._written}.parquet"
        self._written += 1
        with TableWriter(path) as writer:
            for table in tables:
                writer.append(table)
        self._runs.append(path)


def merge(runs: Sequence[Path], key: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Rows of sorted runs in order. Whatever is not beyond the nearest end of a held piece can be given away."""
    sources = [read_in_pieces(run, STEP_ROWS) for run in runs]
    heads = [_Head(next(source), source, tuple(key)) for source in sources]
    while heads:
        limit = min(head.last for head in heads)
        parts = [part for head in heads if (part := head.take(limit)).height]
        # Pieces of files that were sorted already follow each other: nothing to sort.
        yield parts[0] if len(parts) == 1 else pl.concat(parts).sort(key, maintain_order=True)
        heads = [head for head in heads if head.refill()]


@dataclass
class _Head:
    """The piece of a run that is held in memory, and the rest of the run."""

    table: pl.DataFrame
    source: Iterator[pl.DataFrame]
    key: tuple[str, ...]

    @property
    def last(self) -> tuple[Any, ...]:
        return self.table.select(self.key).row(-1)

    def take(self, limit: tuple[Any, ...]) -> pl.DataFrame:
        """Remove and return the rows up to ``limit``."""
        keys = self.table.select(self.key)
        if keys.row(0) > limit:
            return self.table.head(0)
        due = (
            self.table.height
            if keys.row(-1) <= limit
            else int(keys.select(_up_to(self.key, limit).sum()).item())
        )
        taken, self.table = self.table.head(due), self.table.slice(due)
        return taken

    def refill(self) -> bool:
        """Read on if nothing is held; whether there are rows."""
        if self.table.is_empty():
            self.table = next(self.source, self.table)
        return not self.table.is_empty()


def _up_to(key: Sequence[str], limit: Sequence[Any]) -> pl.Expr:
    """Whether the key is at most ``limit``, column after column."""
    due = pl.lit(True)
    for name, value in reversed(list(zip(key, limit, strict=True))):
        due = (pl.col(name) < value) | ((pl.col(name) == value) & due)
    return due
