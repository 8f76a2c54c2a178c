"""``candump -L`` lines with labels behind them: ``(0.000407) can0 410#00322328164e7000 True<TAB>False``.

Written by the CrySyS attack generator (TANGOCAN): whether the frame was modified, and whether it was injected, as
True, False, 1 or 0. Either makes it an attack.
"""

from __future__ import annotations

import re
from typing import Final

import polars as pl

from candor.ids.captures import candump
from candor.ids.captures.format import Format, Opened, groups, share
from candor.ids.captures.rows import RawRows

NAME: Final = "candump_labelled"
LABELS: Final[dict[str | int, int]] = {"0": 0, "1": 1}

_TOKEN = "(?:True|False|true|false|[01])"
_LINE = rf"^(?<frame>\(.*#\S*)\s+(?<first>{_TOKEN})(?:\s+(?<second>{_TOKEN}))?$"
_LOOKS = re.compile(rf"^\([^()]+\)\s+\S+\s+[^#\s]+#\S*\s+{_TOKEN}(\s+{_TOKEN})?$")


def sniff(head: list[str]) -> float:
    """Above candump's own share of the same lines where most have tokens."""
    labelled = share(head, _LOOKS.match)
    return 1.001 if labelled > 0.5 else labelled


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of candump lines with their tokens."""
    return Opened(_read)


def _read(table: pl.DataFrame) -> RawRows:
    fields = groups(table, _LINE)
    inner = candump.fields(fields.select("line", raw=pl.coalesce("frame", "raw")))
    true = pl.Series(["True", "true", "1"]).implode()
    label = pl.when(pl.col("first").is_in(true) | pl.col("second").is_in(true).fill_null(False))
    return RawRows(
        inner.with_columns(
            raw=table["raw"],
            label=fields.select(label.then(pl.lit("1")).when(pl.col("first").is_not_null()).then(pl.lit("0")))
            .to_series()
            .cast(pl.String),
        ),
        LABELS,
    )


FORMAT: Final = Format(
    NAME,
    "candump -L with label tokens (CrySyS, TANGOCAN)",
    ".log",
    labelled=True,
    sniff=sniff,
    open=open_,
)
