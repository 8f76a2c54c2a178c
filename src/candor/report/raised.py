"""The page's table of adapted thresholds (`ids.evaluation.adapted`)."""

from __future__ import annotations

from html import escape

import polars as pl

from candor.report import html, numbers
from candor.report.html import Cell, Row, section, sortable, word
from candor.report.tables import rank

_LEAD = (
    "Captures of a vehicle that is calibrated on its own first seconds. The floor is what their scores, without labels, say "
    "of ordinary traffic there; a score must reach the higher of it and the threshold. Of a union, its members have one each."
)
_HEADS = [
    ("capture", "left"),
    ("detector", "left"),
    ("variant", "left"),
    ("seed", "right"),
    ("member", "left"),
]
_HEADS += [
    ("threshold", "right"),
    ("floor", "right"),
    ("to reach", "right"),
    ("windows", "right"),
    ("used", "right"),
]


def adapted_table(adapted: pl.DataFrame) -> str:
    """One row per detector (member of a union) and capture. ``adapted``: adapted.parquet of evaluate."""
    rows = []
    order = sorted(
        adapted.iter_rows(named=True),
        key=lambda r: (r["capture"], *rank(r["detector"], r["variant"]), r["seed"], r["member"]),
    )
    for r in order:
        cells = [word(r["capture"]), word(r["detector"]), word(r["variant"]), html.count(r["seed"])]
        cells += [word(r["member"]), *(_score(r[name]) for name in ("threshold", "floor", "adapted"))]
        cells += [html.count(r["windows"]), html.count(r["used"]), word(r["reason"] or "")]
        rows.append(Row(cells, cls=r["variant"]))
    body = sortable("adapted-table", [*_HEADS, ("remark", "left")], rows)
    return section("adapted", "Adapted thresholds", _LEAD, body)


def _score(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(escape(numbers.threshold(value)), repr(value))
