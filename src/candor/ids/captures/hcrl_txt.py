"""HCRL text: ``Timestamp: 1479121839.997360        ID: 04f0    000    DLC: 8    00 00 00 80 00 60 03 14``.

The benign log of Car-Hacking, and OTIDS (Lee, Jeong & Kim, 2017) with times from zero and remote frames, which have
100 where others have 000. The format has no labels.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures import frames as fr
from candor.ids.captures import text
from candor.ids.captures.format import Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "hcrl_txt"

_LINE = r"^Timestamp:\s*(?<t>\S+)\s+ID:\s*(?<id>\S+)\s+(?<kind>000|100)\s+DLC:\s*(?<dlc>\S+)(?<data>(?:\s+\S{2})*)$"
#: Width of the time column: ten digits of epoch, a point, six decimals.
_TIME_CHARS = 17


def sniff(head: list[str]) -> float:
    """Share of the first lines that look like this format."""
    return sum(line.startswith("Timestamp:") for line in head) / max(len(head), 1)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of unlabelled lines."""
    return Opened(_read)


def _read(table: pl.DataFrame) -> RawRows:
    fields = table.with_columns(pl.col("raw").str.extract_groups(_LINE).alias("fields")).unnest("fields")
    return RawRows(
        fields.with_columns(
            broken=pl.col("t").is_null(),
            data=pl.col("data").str.replace_all(r"\s+", ""),
            remote=(pl.col("kind") == "100").fill_null(False),
        ),
        None,
    )


def write(table: pl.DataFrame) -> bytes:
    """Frames → text; labels are lost. Raises DataError for frames the format cannot hold."""
    text.refuse_unless_plain(table, NAME, remote=True)
    kind = pl.when(text.has_flag(fr.REMOTE)).then(pl.lit("100")).otherwise(pl.lit("000"))
    line = pl.concat_str(
        [
            pl.lit("Timestamp: ") + text.time_text().str.pad_start(_TIME_CHARS),
            pl.lit("        ID: ") + text.id_text(table, 4, upper=False),
            pl.lit("    ") + kind,
            pl.lit("    DLC: ") + pl.col("dlc").cast(pl.String),
            pl.lit("    ") + text.payload_text(upper=False, separator=" ").str.strip_chars_end(),
        ]
    )
    return text.join(line.str.strip_chars_end(), table)
