"""One raw file → its frames and its quarantine on disk, in bounded memory, and what adds up meanwhile.

``candor ingest`` and the ingest stage of a run both read through here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from candor.errors import CaptureRejected
from candor.ids.captures import formats, frames, quarantine, stream
from candor.ids.captures.format import Format
from candor.ids.captures.sources import RawFile
from candor.ids.captures.tables import TableWriter
from candor.ids.config import CaptureFormat

_QUOTED_ROWS = 3
_SNIFFED_BYTES = 1 << 16
_FRAMES: Final = pl.DataFrame(schema=frames.COLUMNS).to_arrow().schema
_QUARANTINE: Final = pl.DataFrame(schema=quarantine.SCHEMA).to_arrow().schema


@dataclass
class Tally:
    """What adds up over the batches of a file."""

    frames: int = 0
    attacks: int = 0
    unlabelled: int = 0
    first: float = float("inf")
    last: float = float("-inf")
    reversals: int = 0
    ids: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    offences: list[pl.DataFrame] = field(default_factory=list)

    def add(self, batch: stream.Batch) -> None:
        """Count a batch."""
        table = batch.frames
        self.reversals = batch.time_reversals
        self.reasons.update(quarantine.counts(batch.quarantined))
        bad = quarantine.malformed(batch.quarantined)
        if bad.height and sum(part.height for part in self.offences) < _QUOTED_ROWS:
            self.offences.append(bad.head(_QUOTED_ROWS))
        if table.height:
            self.frames += table.height
            self.attacks += int((table["label"] == 1).sum())
            self.unlabelled += table["label"].null_count()
            times = table["timestamp"].to_numpy()
            self.first, self.last = min(self.first, times.min()), max(self.last, times.max())
            self.ids.update(table["id"].unique().to_list())

    @property
    def rows(self) -> int:
        """Every row read is a frame or set aside."""
        return self.frames + self.reasons.total()

    @property
    def labelled(self) -> bool:
        """Whether every frame has a label."""
        return self.unlabelled == 0

    @property
    def duration_s(self) -> float:
        """From the earliest frame to the latest."""
        return float(self.last - self.first)

    def refuse_if_useless(self, raw: RawFile, max_quarantined_share: float) -> None:
        """Raise CaptureRejected if no frame is left or too large a share of the rows is malformed."""
        with raw.open() as content:
            guess = formats.likely(content.read(_SNIFFED_BYTES))
        first = pl.concat(self.offences) if self.offences else pl.DataFrame(schema=quarantine.SCHEMA)
        bad = self.reasons.total() - self.reasons["not_a_frame"]
        quarantine.refuse_count(
            bad, self.rows, max_quarantined_share, first=first, place=raw.place, likely=guess
        )
        if not self.frames:
            raise CaptureRejected(
                "the capture holds no frame", place=raw.place, hint="Leave it out of the dataset."
            )


def recognise(raw: RawFile, name: CaptureFormat) -> Format:
    """The format of that name, or for "auto" the one the content looks like. Raises as formats.recognise."""
    if name != "auto":
        return formats.FORMATS[name]
    with raw.open() as content:
        start = content.read(_SNIFFED_BYTES)
    if start.startswith(b"PAR1"):
        with raw.open(seekable=True) as whole:
            return formats.recognise_file(whole, raw.place)
    return formats.recognise(start, raw.place)


def transcribe(
    raw: RawFile,
    kind: Format,
    to: Path,
    aside: Path,
    *,
    label: Callable[[pl.DataFrame], pl.DataFrame],
    max_backstep_s: float,
    max_quarantined_share: float,
    told: Callable[[int, int], None],
) -> Tally:
    """Write ``to`` (FRAME_SCHEMA, recorded order, after ``label``) and, if any row was set aside, ``aside``.

    ``told`` hears of (bytes read, bytes in all) after every batch.
    Raises CaptureRejected, CaptureUnreadable, SchemaMismatch, ExtraMissing, StorageFull.
    """
    tally = Tally()
    total = raw.size_bytes
    with (
        raw.reading(seekable=kind.blocks is not None) as (content, position),
        TableWriter(to, _FRAMES) as good,
        TableWriter(aside, _QUARANTINE) as bad,
    ):
        for batch in stream.batches(content, kind, raw.place, max_backstep_s=max_backstep_s):
            labelled = stream.Batch(label(batch.frames), batch.quarantined, batch.time_reversals)
            tally.add(labelled)
            good.append(labelled.frames)
            bad.append(labelled.quarantined)
            told(position(), total)
    tally.refuse_if_useless(raw, max_quarantined_share)
    return tally
