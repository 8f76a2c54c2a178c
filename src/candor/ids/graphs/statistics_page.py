"""The profile of graph sizes as one self-contained page: advice, histograms, one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from candor.report.html import Cell, Row, card, count, document, grid, section, sortable, word
from candor.report.numbers import quantity
from candor.report.svg import Scale, drawing, line, rect, text

_UNITS: Final = {"nodes": "nodes per graph", "edges": "edges per graph", "bytes": "bytes per graph"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BASE = 300.0, 124.0, 34.0, 10.0, 92.0


def page(content: Mapping[str, Any]) -> str:
    """HTML of a ``profile.json``."""
    groups = content["groups"]
    parts = [
        (
            "sizes",
            "Sizes",
            section("sizes", "Sizes", "Graphs of each split and scenario by size.", _plots(groups)),
        ),
        ("table", "Table", section("table", "Table", _LEAD, _table(groups))),
    ]
    head = f"<p><b>Advice: {escape(content['advice'] or 'no graph to advise on')}.</b> {escape(content['rule'])}</p>"
    return document("Sizes of graphs", head, parts, "The same content as profile.json beside this page.")


_LEAD = "sd over mean is the coefficient of variation; the advice follows from that of nodes and edges."


def group_name(group: Mapping[str, Any]) -> str:
    """``test · known vehicle known attack``."""
    scenario = str(group["scenario"]).replace("_", " ")
    return f"{group['split']} · {scenario}" if scenario else str(group["split"])


def _plots(groups: Sequence[Mapping[str, Any]]) -> str:
    cards = []
    for group in groups:
        for name, unit in _UNITS.items():
            if group["graphs"]:
                cards.append(card(f"{group_name(group)}: {name}", histogram(group[name]["histogram"], unit)))
    return grid(cards, size="mid")


def histogram(bars: Mapping[str, Sequence[float]], x_label: str) -> str:
    """Counts of whole numbers; bars from 0."""
    edges, counts = bars["edges"], bars["counts"]
    x = Scale(edges[0], edges[-1], _LEFT, _WIDTH - 6)
    y = Scale(0, max(max(counts), 1), _BASE, _TOP)
    parts = [line(_LEFT, y(t), _WIDTH - 6, y(t), cls="grid") for t in y.ticks(3)]
    parts += [text(_LEFT - 4, y(t) + 4, f"{t:.6g}", cls="tick", anchor="end") for t in y.ticks(3)]
    for low, high, n in zip(edges, edges[1:], counts, strict=False):
        tip = f"{low:g} to {high:g}: {int(n)} graphs"
        left, right = x(low), x(high)
        parts.append(
            rect(left, y(n), max(right - left - 0.5, 0.5), _BASE - y(n), style="fill:var(--d0)", title=tip)
        )
    parts.append(line(_LEFT, _BASE, _WIDTH - 6, _BASE, cls="axis"))
    parts += [_tick(x(t), f"{t:.6g}") for t in x.ticks(4)]
    parts.append(text((_LEFT + _WIDTH) / 2, _BASE + 24, x_label, cls="tick", anchor="middle"))
    return drawing(_WIDTH, _HEIGHT, parts, label=x_label)


def _tick(at: float, label: str) -> str:
    """A label under the axis; one at its end must not run out of the drawing."""
    anchor = "end" if at > _WIDTH - 3.5 * len(label) else "middle"
    return text(_WIDTH if anchor == "end" else at, _BASE + 12, label, cls="tick", anchor=anchor)


def _table(groups: Sequence[Mapping[str, Any]]) -> str:
    heads = [("split", "left"), ("scenario", "left"), ("graphs", "right"), ("size", "left")]
    stats = ("mean", "sd", "cv", "min", "max")
    heads += [(s, "right") for s in stats]
    heads += [(f"q{q}", "right") for q in ("0.05", "0.5", "0.95", "0.99")] + [("advice", "left")]
    rows = []
    for group in groups:
        for name in _UNITS:
            own = group[name]
            cells = [word(group["split"]), word(group["scenario"]), count(group["graphs"]), word(name)]
            cells += [_number(own[s]) for s in stats]
            cells += [_number(own["quantiles"].get(q)) for q in ("0.05", "0.5", "0.95", "0.99")]
            cells.append(word(group["advice"] or ""))
            rows.append(Row(cells))
    return sortable("sizes-table", heads, rows)


def _number(value: float | None) -> Cell:
    return Cell(escape(quantity(value)), "" if value is None else repr(float(value)))
