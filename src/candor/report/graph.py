"""A window's graph as a picture: nodes on a circle, what mattered in colour.

The picture carries its own colours, so that it stands as a file too; they are chosen to read on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from candor.report.svg import px

_SIZE, _RADIUS = 460.0, 150.0
_PLAIN, _MARK, _ATTACK = "#8a8f98", "#d9480f", "#c92a2a"
#: Edges drawn at most, those that matter most; and nodes that get a label, where there are more than so many.
_EDGES, _LABELS = 60, 28
#: Width of a letter, and letters of a label at most; the whole name is its tip.
_LETTER, _LETTERS = 5.6, 26
#: Letters that fit between the circle and the edge of the drawing; longer labels make it larger.
_FITTING = 10


@dataclass(frozen=True)
class Node:
    """``importance`` from 0 to 1; ``attack``: a forged frame had this ID."""

    name: str
    importance: float
    attack: bool = False


@dataclass(frozen=True)
class Edge:
    """Between positions of the nodes. ``importance`` from 0 to 1; ``attention`` breaks its ties."""

    source: int
    target: int
    importance: float
    attention: float = 0.0


def graph_picture(nodes: Sequence[Node], edges: Sequence[Edge], *, label: str) -> str:
    """The SVG: node size and colour by importance, edge width by importance, attack nodes ringed."""
    longest = max((min(len(node.name), _LETTERS) for node in nodes), default=0)
    margin = _LETTER * max(longest - _FITTING, 0)
    box = f"{px(-margin)} {px(-margin)} {px(_SIZE + 2 * margin)} {px(_SIZE + 2 * margin)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" '
        f'aria-label="{escape(label, quote=True)}" style="max-width:{px(_SIZE * 1.3)}px" '
        'font-family="system-ui,sans-serif" font-size="9">'
    ]
    at = [_place(i, len(nodes)) for i in range(len(nodes))]
    chosen = sorted(edges, key=lambda e: (-e.importance, -e.attention))[:_EDGES]
    for edge in reversed(chosen):
        parts.append(_edge(edge, at, nodes))
    labelled = set(sorted(range(len(nodes)), key=lambda i: -nodes[i].importance)[:_LABELS])
    for i, node in enumerate(nodes):
        parts.append(_node(node, *at[i], labelled=i in labelled or node.attack))
    return "".join(parts) + "</svg>"


def _place(i: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * i / max(count, 1) - math.pi / 2
    return _SIZE / 2 + _RADIUS * math.cos(angle), _SIZE / 2 + _RADIUS * math.sin(angle)


def _edge(edge: Edge, at: Sequence[tuple[float, float]], nodes: Sequence[Node]) -> str:
    (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
    strong = min(max(edge.importance, 0.0), 1.0)
    colour = _MARK if strong > 0.5 else _PLAIN
    look = f'fill="none" stroke="{colour}" stroke-width="{0.4 + 2.6 * strong:.2f}" opacity="{0.2 + 0.7 * strong:.2f}"'
    tip = (
        f"<title>{escape(nodes[edge.source].name)} → {escape(nodes[edge.target].name)}: importance "
        f"{edge.importance:.2f}, attention {edge.attention:.2f}</title>"
    )
    centre = _SIZE / 2
    if edge.source == edge.target:
        # A loop, outwards from the circle.
        dx, dy = (x1 - centre) / _RADIUS, (y1 - centre) / _RADIUS
        return f'<circle cx="{px(x1 + 9 * dx)}" cy="{px(y1 + 9 * dy)}" r="8" {look}>{tip}</circle>'
    # Bent towards the centre, so that there and back are two lines.
    bend = 0.25 if edge.source < edge.target else 0.4
    mx, my = (x1 + x2) / 2, (y1 + y2) / 2
    cx, cy = mx + (centre - mx) * bend, my + (centre - my) * bend
    return f'<path d="M{px(x1)} {px(y1)}Q{px(cx)} {px(cy)} {px(x2)} {px(y2)}" {look}>{tip}</path>'


def _node(node: Node, x: float, y: float, *, labelled: bool) -> str:
    strong = min(max(node.importance, 0.0), 1.0)
    colour = _MARK if strong > 0.5 else _PLAIN
    ring = f' stroke="{_ATTACK}" stroke-width="2.5"' if node.attack else ""
    tip = f"<title>{escape(node.name)}: importance {node.importance:.2f}{', attacked' if node.attack else ''}</title>"
    dot = f'<circle cx="{px(x)}" cy="{px(y)}" r="{px(3 + 6 * strong)}" fill="{colour}"{ring}>{tip}</circle>'
    if not labelled:
        return dot
    dx, dy = (x - _SIZE / 2) / _RADIUS, (y - _SIZE / 2) / _RADIUS
    angle = math.degrees(math.atan2(dy, dx))
    flip = abs(angle) > 90
    turn, anchor = (angle + 180, "end") if flip else (angle, "start")
    tx, ty = x + 22 * dx, y + 22 * dy
    name = node.name if len(node.name) <= _LETTERS else node.name[: _LETTERS - 1] + "…"
    weight = ' font-weight="700"' if strong > 0.5 or node.attack else ""
    return (
        f'{dot}<text x="{px(tx)}" y="{px(ty)}" text-anchor="{anchor}" dominant-baseline="middle" fill="{_PLAIN}"{weight} '
        f'transform="rotate({turn:.1f} {px(tx)} {px(ty)})">{escape(name)}</text>'
    )
