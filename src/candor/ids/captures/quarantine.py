"""Rows that cannot become frames: kept beside the capture with their line and reason, and counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from candor.errors import CaptureRejected

SCHEMA: Final = {"line": pl.Int64, "reason": pl.String, "raw": pl.String}

#: Every reason a row can be set aside, and what it means.
REASONS: Final = {
    "not_utf8": "the line holds bytes that are not UTF-8",
    "not_a_frame": "a record that is no CAN frame: status, statistics, trigger, comment event",
    "malformed": "the line does not have the layout of its format",
    "time_not_a_number": "the time is missing or not a number",
    "time_not_finite": "the time is NaN or infinite",
    "time_backwards": "the time lies more than max_backstep_s before an earlier frame",
    "time_ahead": "the time lies more than max_backstep_s after the frames that follow",
    "id_not_hex": "the arbitration ID is missing or not hexadecimal",
    "id_over_29_bits": "the arbitration ID needs more than 29 bits, or is negative",
    "payload_not_hex": "the payload is not hexadecimal (in python-can's CSV: not base64)",
    "payload_odd_hex": "the payload has an odd number of hexadecimal digits",
    "payload_over_64_bytes": "the payload is longer than CAN FD allows",
    "dlc_not_a_number": "the declared length is not a number",
    "dlc_mismatch": "the declared length differs from the payload",
    "label_unknown": "the label is none of the format's labels",
}

#: Longest piece of a raw line kept; a binary file misread as text must not fill the disk.
RAW_CHARS: Final = 200


def counts(quarantined: pl.DataFrame) -> dict[str, int]:
    """Rows per reason, most frequent first (ties by name)."""
    table = quarantined.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
    return dict(table.iter_rows())


def by_count(reasons: Mapping[str, int]) -> dict[str, int]:
    """As counts, from what was counted."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def malformed(quarantined: pl.DataFrame) -> pl.DataFrame:
    """Quarantined rows that speak against the file; a logger's status records do not."""
    return quarantined.filter(pl.col("reason") != "not_a_frame")


def refuse_count(
    bad: int, rows: int, max_share: float, *, first: pl.DataFrame, place: str, likely: str = ""
) -> None:
    """Raise CaptureRejected when more than ``max_share`` of ``rows`` lines is malformed, quoting the ``first`` three."""
    if rows == 0 or bad <= max_share * rows:
        return
    shown = [f"line {line}: {reason} '{raw[:80]}'" for line, reason, raw in first.head(3).iter_rows()]
    guess = f" It looks like '{likely}'." if likely else ""
    raise CaptureRejected(
        f"{bad} of {rows} rows are malformed: " + "; ".join(shown),
        place=place,
        hint=f"Check the file's format (`format:` of its source, `--format`), or raise max_quarantined_share.{guess}",
    )
