"""CrySyS text (called .csv): ``1618676990.693704        0110    000    8    02 20 2e 13 00 18 13 00``.

Time, ID, kind (100 remote), length and payload, blank separated. No labels.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from candor.ids.captures.format import Format, Opened, groups, share, squeeze
from candor.ids.captures.rows import RawRows

NAME: Final = "crysys"

_LINE = r"^(?<t>\S+)\s+(?<id>\S+)\s+(?<kind>000|100)\s+(?<dlc>\S+)(?<data>(?:\s+\S{2})*)$"
_LOOKS = re.compile(r"^\d+\.\d+\s+[0-9A-Fa-f]{3,8}\s+[01]00\s+\d+(\s+[0-9A-Fa-f]{2})*$")


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of unlabelled lines."""
    return Opened(_read)


def _read(table: pl.DataFrame) -> RawRows:
    return RawRows(
        groups(table, _LINE).with_columns(
            broken=pl.col("t").is_null(),
            data=squeeze(pl.col("data")),
            remote=(pl.col("kind") == "100").fill_null(False),
        ),
        None,
    )


FORMAT: Final = Format(
    NAME, "CrySyS blank-separated CSV", ".csv", sniff=lambda head: share(head, _LOOKS.match), open=open_
)
