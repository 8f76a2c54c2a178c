"""Recordings that the published layout files more than once: beside the file that is used, or in another dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from candor.errors import DataError
from candor.ids.captures import frames, transcript
from candor.ids.captures.sources import RawFile
from candor.ids.config import FiledElsewhere, IngestConfig
from candor.ids.graphs.findings import Finding, Severity

ABSENT, UNREADABLE, SAME, OTHER = "not on this machine", "cannot be read", "identical frames", "other frames"


def findings(elsewhere: Sequence[FiledElsewhere], catalog: pl.DataFrame) -> Iterator[Finding]:
    """One finding for copies inside the dataset, one for other datasets; each place with what comparing it gave.

    Raises nothing for a copy that is absent or damaged: the dataset does not need it, and the evidence says so.
    """
    rows = {row["capture"]: row for row in catalog.iter_rows(named=True)}
    dataset = str(catalog["dataset"][0]) if len(catalog) else ""
    used = [e for e in elsewhere if e.capture in rows]
    checked = {e.place_name: compare(e, str(rows[e.capture]["frames_sha256"])) for e in used}
    own = [e for e in used if e.dataset == dataset]
    others = [e for e in used if e.dataset != dataset]
    if own:
        message = (
            f"the published layout files {_pairs(own)} again ({_said(own, checked)}); "
            "each recording is used once here, a reader of all folders counts it twice"
        )
        yield Finding(
            "recording_filed_again", _severity(own, checked, "info"), message, _evidence(own, checked)
        )
    if others:
        message = (
            f"recordings of this dataset are in other datasets too: {_pairs(others)} ({_said(others, checked)}); "
            "training on those and testing here would leak"
        )
        evidence = _evidence(others, checked)
        yield Finding("recording_in_other_dataset", _severity(others, checked, "warning"), message, evidence)


def compare(copy: FiledElsewhere, frames_sha256: str) -> str:
    """Whether the copy holds the very frames of the capture."""
    path = Path(copy.path)
    if not copy.path or not path.is_file():
        return ABSENT
    raw, rules = RawFile(path), IngestConfig(dataset=copy.dataset)
    with tempfile.TemporaryDirectory(prefix="candor-") as folder:
        table = Path(folder, "frames.parquet")
        try:
            transcript.transcribe(
                raw,
                transcript.recognise(raw, "auto"),
                table,
                Path(folder, "quarantine.parquet"),
                label=lambda frames: frames,
                max_backstep_s=rules.max_backstep_s,
                max_quarantined_share=rules.max_quarantined_share,
                told=lambda done, total: None,
            )
        except DataError:
            return UNREADABLE
        # Labels count: ingest hashes frames after unlabelled ones got their declared meaning.
        hashes = {frames.content_hash_of_file(table, unlabelled=meaning) for meaning in (255, 0)}
    return SAME if frames_sha256 in hashes else OTHER


def _severity(copies: Sequence[FiledElsewhere], checked: dict[str, str], usual: Severity) -> Severity:
    """A preset that calls a copy what is none misleads: that is worth a warning."""
    return "warning" if any(checked[e.place_name] == OTHER for e in copies) else usual


def _pairs(copies: Sequence[FiledElsewhere]) -> str:
    shown = ", ".join(f"{e.capture} as {e.place_name}" for e in copies[:4])
    return shown + (f" and {len(copies) - 4} more" if len(copies) > 4 else "")


def _said(copies: Sequence[FiledElsewhere], checked: dict[str, str]) -> str:
    counts: dict[str, int] = {}
    for e in copies:
        counts[checked[e.place_name]] = counts.get(checked[e.place_name], 0) + 1
    return "; ".join(f"{word}: {n}" for word, n in counts.items())


def _evidence(copies: Sequence[FiledElsewhere], checked: dict[str, str]) -> dict[str, Any]:
    return {
        "places": [
            {"capture": e.capture, "dataset": e.dataset, "place": e.place, "compared": checked[e.place_name]}
            for e in copies
        ]
    }
