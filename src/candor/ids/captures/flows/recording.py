"""The raw files of a source → one table on disk, sorted by start, with host keys: a block at a time, in bounded memory."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from candor.errors import DataError, SchemaMismatch
from candor.ids.captures import files, parquet
from candor.ids.captures.flows import formats, hosts, schema
from candor.ids.captures.flows.config import FlowFile, FlowIngestConfig, FlowSource
from candor.ids.captures.flows.decode import Balance, Parsed
from candor.ids.captures.flows.sorting import Sorter
from candor.ids.captures.sources import RawFile
from candor.ids.captures.tables import TableWriter, read_in_pieces, regroup

#: Rows of a row group, and rows held while a capture is written: about 20 MB.
PIECE_ROWS: Final = 1 << 16
#: Flows that start together keep the order of file and row.
_ORDER: Final = ("t_start", "file", "row")


@dataclass(frozen=True)
class Recording:
    """The files of a source, read.

    Attributes:
        path: flows by time. quarantine: rows set aside (file, line, reason, raw); no such file if there are none.
        flows: how many. reasons: quarantined rows by reason. reversals: steps back in time between rows of a file.
    """

    path: Path
    quarantine: Path
    flows: int
    reasons: Counter[str]
    reversals: int
    layout: formats.Layout
    labelled: bool

    @property
    def quarantined(self) -> int:
        return self.reasons.total()

    def between(self, first: float, last: float) -> tuple[int, int]:
        """Positions of the flows that start at or after ``first`` and before ``last``, s."""
        low = high = 0
        for times in read_in_pieces(self.path, PIECE_ROWS, columns=("t_start",)):
            low += int((times["t_start"] < first).sum())
            high += int((times["t_start"] < last).sum())
        return low, high


def read_recording(source: FlowSource, config: FlowIngestConfig, folder: Path) -> Recording:
    """All files of a source as one table by time, in ``folder``, which is emptied first.

    Raises DataError (a file is missing, changed, unreadable, mostly malformed, or of another format than the first).
    """
    shutil.rmtree(folder, ignore_errors=True)
    path, aside = folder / "recording.parquet", folder / "quarantine.parquet"
    reader = _Reader(config, source, Sorter(folder / "runs", _ORDER))
    with TableWriter(aside) as quarantine:
        for number, file in enumerate(source.files):
            reader.read(number, file, quarantine)
    assert reader.layout is not None  # A source has at least one file.
    with TableWriter(path) as flows:
        for table in regroup(reader.sorter.merged(), PIECE_ROWS):
            flows.append(table)
    return Recording(
        path, aside, reader.flows, reader.reasons, reader.reversals, reader.layout, reader.labelled
    )


class _Reader:
    """Sums up the files of a source while their flows go to the sorter."""

    def __init__(self, config: FlowIngestConfig, source: FlowSource, sorter: Sorter) -> None:
        self._config, self._source, self.sorter = config, source, sorter
        self._key = hosts.key_of(config.host_seed) if config.pseudonymise else None
        self.flows, self.reversals, self.labelled = 0, 0, True
        self.reasons: Counter[str] = Counter()
        self.layout: formats.Layout | None = None

    def read(self, number: int, file: FlowFile, quarantine: TableWriter) -> None:
        """One file, checked against its digest first."""
        raw = RawFile(_unchanged(file))
        with raw.open() as stream:
            packed_table = parquet.is_parquet(stream.read(4))
        balance, before = Balance(), float("-inf")
        with raw.open(seekable=packed_table) as stream:
            reading = formats.open_flows(stream, raw.place, name=self._source.format)
            self._agree(reading)
            for part in reading.parts:
                balance.add(part)
                before = self._take(part, number, before)
                quarantine.append(
                    part.quarantined.select(pl.lit(number, pl.Int32).alias("file"), "line", "reason", "raw")
                )
        balance.judge(raw.place, self._config.max_quarantined_share)
        self.flows += balance.flows
        self.reasons += balance.reasons

    def _agree(self, reading: formats.Reading) -> None:
        if self.layout is not None and self.layout.name != reading.layout.name:
            names = f"{self.layout.name} and {reading.layout.name}"
            raise SchemaMismatch(f"files of formats {names}", place=self._source.capture)
        self.layout, self.labelled = reading.layout, self.labelled and reading.labelled

    def _take(self, part: Parsed, number: int, before: float) -> float:
        """Give the flows of a part to the sorter; the start of the last one."""
        flows = part.flows
        if flows.is_empty():
            return before
        steps = flows["t_start"].diff()
        self.reversals += int((steps < 0).sum()) + int(flows["t_start"][0] < before)
        own = [c for c in flows.columns if c.startswith((schema.FEATURE, schema.WITHHELD))]
        table = flows.with_columns(
            file=pl.lit(number, pl.Int32),
            src=hosts.host_keys(flows["src_host"], self._key),
            dst=hosts.host_keys(flows["dst_host"], self._key),
        )
        self.sorter.add(table.select(*schema.COLUMNS, *own))
        return float(flows["t_start"][-1])


def _unchanged(file: FlowFile) -> Path:
    path = Path(file.path)
    digest = files.sha256_of(path)
    if file.sha256 and digest != file.sha256:
        raise DataError(
            f"'{path.name}' changed since the run was planned (sha256 {digest[:12]}, planned {file.sha256[:12]})",
            place=str(path.parent),
            hint="Plan again: the same command does.",
        )
    return path
