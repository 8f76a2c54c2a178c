"""HCRL CSV: headerless ``Timestamp,ID,DLC,DATA0,...,DATA7,Flag``; a frame with DLC < 8 has fewer fields.

Car-Hacking (Song, Woo & Kim, 2020) and Survival Analysis (Han, Kwak & Kim, 2018) of the Hacking and Countermeasure
Research Lab. Flag R is a regular frame, T an injected one.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from candor.ids.captures import text
from candor.ids.captures.format import Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "hcrl_csv"
LABELS: Final[dict[str | int, int]] = {"R": 0, "T": 1}

# Payload bytes are two characters each, so that the flag of a short row cannot be taken for a byte; some exports pad
# short rows with empty fields.
_LINE = r"^(?<t>[^,]*),(?<id>[^,]*),(?<dlc>[^,]*),(?<data>(?:[^,]{2},)*),*(?<label>[^,]*)$"
_LOOKS = re.compile(r"^[^,]+,[^,]+,[^,]+,(?:[^,]*,)*[RT]$")


def sniff(head: list[str]) -> float:
    """Share of the first lines that look like this format."""
    return sum(bool(_LOOKS.match(line.replace(" ", ""))) for line in head) / max(len(head), 1)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader; a first line that names columns is skipped."""
    named = head.height > 0 and head["raw"][0].lower().startswith("timestamp")
    return Opened(_read, header_lines=int(head["line"][0]) if named else 0, fast="hcrl_csv")


def _read(table: pl.DataFrame) -> RawRows:
    groups = pl.col("raw").str.replace_all(" ", "", literal=True).str.extract_groups(_LINE)
    fields = table.with_columns(groups.alias("fields")).unnest("fields")
    return RawRows(
        fields.with_columns(
            broken=pl.col("t").is_null(),
            data=pl.col("data").str.replace_all(",", "", literal=True),
        ),
        LABELS,
    )


def write(table: pl.DataFrame) -> bytes:
    """Frames → text. Raises DataError for frames the format cannot hold."""
    text.refuse_unless_plain(table, NAME)
    text.refuse(table, pl.col("label").is_null(), "unlabelled", NAME)
    line = pl.concat_str(
        [
            text.time_text() + ",",
            text.id_text(table, 4, upper=False) + ",",
            pl.col("dlc").cast(pl.String) + ",",
            text.payload_text(upper=False, separator=","),
            pl.when(pl.col("label") == 1).then(pl.lit("T")).otherwise(pl.lit("R")),
        ]
    )
    return text.join(line, table)
