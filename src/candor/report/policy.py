"""The picture of a fusion policy: which weight it gives which kind of window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import polars as pl

from candor.report import html
from candor.report.figures import HeatCell, heat
from candor.report.html import Cell, Row, card, grid, section, sortable, word

_BINS = 10
_LEAD = (
    "Mean weight that the policy gives the GAT over the VGAE on training windows: 1 listens to the GAT alone, 0 to the "
    "VGAE alone. One square per tenth of both probabilities; empty squares held no window."
)


def policy_pictures(policies: Mapping[str, pl.DataFrame]) -> str:
    """One heat map per lane, and a table by attack family.

    Args:
        policies: lane (``student.s1``) → columns family, shown_as_unknown, gat_bin, vgae_bin, windows, weight, fused.
    """
    cards, rows = [], []
    for lane, table in sorted(policies.items()):
        cells = [
            HeatCell(r["vgae_bin"], r["gat_bin"], r["weight"], r["windows"])
            for r in _mean(table, ["gat_bin", "vgae_bin"]).iter_rows(named=True)
        ]
        picture = heat(
            f"fusion weight of {lane}",
            cells,
            bins=_BINS,
            x_label="attack probability of the VGAE",
            y_label="of the GAT",
            colour="var(--d0)",
        )
        cards.append(card(lane, picture))
        for r in _mean(table, ["family", "shown_as_unknown"]).iter_rows(named=True):
            shown = "as unknown" if r["shown_as_unknown"] else "as it is"
            cells_of = [word(lane), word(r["family"] or "benign"), word(shown), html.count(r["windows"])]
            rows.append(Row([*cells_of, _share(r["weight"]), _share(r["fused"])]))
    heads = [("lane", "left"), ("windows of", "left"), ("vehicle shown", "left"), ("windows", "right")]
    heads += [("mean weight", "right"), ("mean fused", "right")]
    return section("policy", "Fusion policy", _LEAD, grid(cards) + sortable("policy-table", heads, rows))


def _mean(table: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Means over windows, not over squares."""
    count = pl.col("windows")
    means = [((pl.col(name) * count).sum() / count.sum()).alias(name) for name in ("weight", "fused")]
    return table.group_by(key).agg(count.sum().alias("n"), *means).rename({"n": "windows"}).sort(key)


def _share(value: float) -> Cell:
    return Cell(escape(f"{value:.3f}"), repr(value))
