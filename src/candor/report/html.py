"""HTML pieces of the page: tables, legends, cards, the document itself. No network: style and script are inlined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from candor.report.numbers import UNDEFINED, estimate
from candor.report.tables import RIVALS, Table, title


@dataclass(frozen=True)
class Cell:
    """One table cell. ``sort`` is its key ("" stays last); ``html`` is trusted text."""

    html: str
    sort: str = ""


def word(content: str) -> Cell:
    """A cell of text."""
    return Cell(escape(content), content)


def number(row: dict[str, object] | None, *, digits: int = 3, is_share: bool = True) -> Cell:
    """A results row as a cell: value, spread or interval in grey, the reason on hovering over a dash."""
    if row is None:
        return Cell("")
    value = row["value"]
    if not isinstance(value, float):
        reason = escape(str(row["undefined_reason"] or "undefined"), quote=True)
        return Cell(f'<abbr title="{reason}">{UNDEFINED}</abbr>')
    numbers = {k: v if isinstance(v := row[k], float) else None for k in ("value", "sd", "low", "high")}
    main, _, rest = estimate(numbers, digits=digits, is_share=is_share).partition(" ")
    how = f' title="{escape(str(row["interval"]), quote=True)}"' if row.get("interval") else ""
    return Cell(
        escape(main) + (f' <span class="range"{how}>{escape(rest)}</span>' if rest else ""), repr(value)
    )


def count(value: object) -> Cell:
    """A whole number."""
    return Cell("" if value is None else f"{value:,}".replace(",", " "), "" if value is None else str(value))


@dataclass(frozen=True)
class Row:
    """A table row: its cells, a kind to filter by, and CSS classes."""

    cells: Sequence[Cell]
    kind: str = ""
    cls: str = ""


def sortable(name: str, heads: Sequence[tuple[str, str]], rows: Iterable[Row]) -> str:
    """A sortable table; ``heads``: (title, "left" or "right"). ``name`` is its id."""
    top = "".join(
        f'<th scope="col" class="{align}"><button type="button">{escape(title)}</button></th>'
        for title, align in heads
    )
    body = []
    for row in rows:
        cells = "".join(
            f'<td class="{align}" data-sort="{escape(cell.sort, quote=True)}">{cell.html}</td>'
            for cell, (_, align) in zip(row.cells, heads, strict=True)
        )
        body.append(f'<tr class="{row.cls}" data-kind="{escape(row.kind, quote=True)}">{cells}</tr>')
    return (
        f'<div class="scroll"><table class="sortable" id="{name}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def filter_bar(table: str, kinds: Sequence[tuple[str, str]], hint: str) -> str:
    """Text box and kind selector for the table with that id; the first kind is chosen."""
    options = "".join(
        f'<option value="{escape(v, quote=True)}">{escape(label)}</option>' for v, label in kinds
    )
    return (
        f'<div class="filter" data-table="{table}"><input type="search" placeholder="{escape(hint, quote=True)}" '
        f'aria-label="{escape(hint, quote=True)}"><select aria-label="rows">{options}</select></div>'
    )


def plain(table: Table) -> str:
    """The summary table as it is printed; a rule above every new scenario, controls in grey."""
    heads = "".join(f'<th class="{c["align"]}">{escape(title(c))}</th>' for c in table["columns"])
    body: list[str] = []
    before: str | None = None
    for row in table["rows"]:
        classes = ["group"] if before not in (None, row[0]) else []
        classes += ["control"] if row[2] in RIVALS else []
        before = row[0]
        cells = "".join(_plain_cell(text, c["align"]) for text, c in zip(row, table["columns"], strict=True))
        if "group" not in classes and body:
            # The scenario is read once, at the head of its block; a copied row still has it.
            cells = cells.replace('class="left"', 'class="left same"', 1)
        body.append(f'<tr class="{" ".join(classes)}">{cells}</tr>')
    notes = "".join(f"<li>{escape(note)}</li>" for note in table["notes"])
    return (
        f'<div class="scroll"><table id="summary"><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody>'
        f'</table></div><ul class="notes">{notes}</ul>'
    )


def _plain_cell(text: str, align: str) -> str:
    main, _, rest = text.partition(" ") if align == "right" else (text, "", "")
    tail = f' <span class="range">{escape(rest)}</span>' if rest else ""
    return f'<td class="{align}">{escape(main)}{tail}</td>'


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """(label, colour, border style) of each entry."""
    items = "".join(
        f'<span><i style="border-top-color:{colour};border-top-style:{style}"></i>{escape(label)}</span>'
        for label, colour, style in entries
    )
    return f'<div class="legend">{items}</div>'


def card(title: str, body: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{body}</div>'


def grid(cards: Iterable[str], *, size: str = "") -> str:
    """Cards side by side, as many as fit; ``size`` "mid" or "small" fits more."""
    return f'<div class="grid {size}">{"".join(cards)}</div>'


def tabs(name: str, panels: Sequence[tuple[str, str]]) -> str:
    """Panels behind radio buttons, the first one open; works without script."""
    heads = "".join(
        f'<input type="radio" name="{name}" id="{name}{i}"{" checked" if not i else ""}>'
        f'<label for="{name}{i}">{escape(title)}</label>'
        for i, (title, _) in enumerate(panels)
    )
    bodies = "".join(
        f'<div class="panel" id="{name}-p{i}">{body}</div>' for i, (_, body) in enumerate(panels)
    )
    rules = "".join(f"#{name}{i}:checked~#{name}-p{i}{{display:block}}" for i in range(len(panels)))
    return f'<style>{rules}</style><div class="tabs">{heads}{bodies}</div>'


def section(anchor: str, title: str, lead: str, body: str) -> str:
    """A heading, a sentence and its content. ``lead`` is plain text."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2><p>{escape(lead)}</p>{body}</section>'


def document(title: str, head: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """The whole page. ``sections``: (anchor, short title, HTML)."""
    assets = files("candor.report") / "assets"
    css, js = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    links = "".join(f'<a href="#{anchor}">{escape(short)}</a>' for anchor, short, _ in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # The browser itself keeps the page from asking anyone for anything.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        # Without an icon of its own, a browser asks the server for one.
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{css}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{head}<nav>{links}</nav>"
        f"{''.join(body for _, _, body in sections)}<footer>{footer}</footer></main>"
        f"<script>{js}</script></body></html>\n"
    )
