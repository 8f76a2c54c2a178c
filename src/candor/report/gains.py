"""What one variant gained against another: the section of the page, and the words of its cells."""

from __future__ import annotations

from html import escape
from typing import Any

import polars as pl

from candor.report import html
from candor.report.html import Cell, Row, section, sortable, word
from candor.report.numbers import UNDEFINED, quantity, share
from candor.report.tables import rank

_NAMES = {"f1": "F1", "recall": "recall", "fpr": "FPR", "auroc": "AUROC", "auc_pr": "AUC-PR"}


def gain_table(effects: pl.DataFrame) -> str:
    """Differences between paired variants, with intervals, by detector and scenario."""
    heads = [("detector", "left"), ("scenario", "left"), ("variant", "left"), ("against", "left")]
    heads += [("metric", "left"), ("first", "right"), ("second", "right"), ("difference", "right")]
    heads += [("size d", "right"), ("seeds", "right"), ("remark", "left")]
    ordered = sorted(
        effects.iter_rows(named=True), key=lambda r: (rank(r["detector"], r["variant"]), r["scenario"])
    )
    rows = []
    for r in ordered:
        cells = [word(r[k]) for k in ("detector", "scenario", "variant", "against")]
        cells.append(word(_NAMES.get(r["metric"], r["metric"])))
        cells += [Cell(share(r[k]), repr(r[k]) if r[k] is not None else "") for k in ("first", "second")]
        cells += [Cell(escape(difference(r)), repr(r["value"]) if r["value"] is not None else "")]
        cells += [_size(r), html.count(r["seeds"]), word(r["reason"] or r["method"])]
        rows.append(Row(cells, kind=r["metric"]))
    lead = (
        "First less second, on the same windows and seeds, with its interval; an interval that holds 0 shows no difference. "
        "Of a distilled variant and the same model alone, it is what distillation gained. FPR: lower is better. "
        f"Size d: {SIZE}; rest the pointer on a dash for why there is none."
    )
    return section("gains", "Variants compared", lead, sortable("gains-table", heads, rows))


def _size(row: dict[str, Any]) -> Cell:
    if row["size"] is not None:
        return Cell(escape(size(row)), repr(row["size"]))
    reason = escape(row.get("size_reason") or row["reason"] or "undefined", quote=True)
    return Cell(f'<abbr title="{reason}">{UNDEFINED}</abbr>')


#: What stands in a column of sizes.
SIZE = "Cohen's d of the pairs of seeds, with its interval from the noncentral t"


def size(row: dict[str, Any]) -> str:
    """``+1.2 [−0.42, +2.71]``, a dash without one."""
    if row["size"] is None:
        return UNDEFINED
    low, high = row.get("size_low"), row.get("size_high")
    value, *bounds = (
        ("+" if v > 0 else "") + quantity(v).replace("-", "−")
        for v in (row["size"], low, high)
        if v is not None
    )
    return f"{value} [{', '.join(bounds)}]" if len(bounds) == 2 else value


def difference(row: dict[str, Any]) -> str:
    """``+0.012 [−0.003, +0.027]``."""
    value, low, high = row["value"], row["low"], row["high"]
    if value is None:
        return UNDEFINED
    if low is None or high is None:
        return signed(value)
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def signed(value: float) -> str:
    """A difference with its sign."""
    if abs(value) < 1e-12:
        return "0"
    text = f"{value:+.3f}"
    if float(text) == 0:
        text = "<0.001" if value > 0 else ">-0.001"
    return text.replace("-", "−")
