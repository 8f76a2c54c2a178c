"""The page's plots: bars with intervals, score histograms, curves. Data in, SVG text out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candor.report import numbers, svg
from candor.report.numbers import share
from candor.report.svg import Scale, drawing, line, path, px, rect, text

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart. ``value`` None draws ``reason`` in its place."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    colour: str
    reason: str = ""


def bars(title: str, rows: Sequence[Bar], *, gutter: float = 148) -> str:
    """Horizontal bars of shares from 0 to 1, whiskers for intervals."""
    width, row, top = 460.0, 19.0, 8.0
    x = Scale(0, 1, gutter, width - 52)
    bottom = top + row * len(rows)
    parts = [line(x(t), top, x(t), bottom, cls="grid") for t in (0, 0.25, 0.5, 0.75, 1)]
    for i, bar in enumerate(rows):
        y = top + i * row
        parts.append(text(gutter - 8, y + 13, bar.label, cls="row", anchor="end"))
        if bar.value is None:
            parts.append(
                text(gutter + 4, y + 13, f"undefined: {_short(bar.reason)}", cls="none", title=bar.reason)
            )
            continue
        interval = bar.low is not None and bar.high is not None
        tip = f"{bar.label}: {share(bar.value)}" + (
            f" [{share(bar.low)}, {share(bar.high)}]" if interval else ""
        )
        parts.append(rect(x(0), y + 4, x(bar.value) - x(0), row - 8, style=f"fill:{bar.colour}", title=tip))
        if bar.low is not None and bar.high is not None:
            middle = y + row / 2
            parts.append(line(x(bar.low), middle, x(bar.high), middle, cls="whisker"))
            parts += [line(x(v), middle - 3, x(v), middle + 3, cls="whisker") for v in (bar.low, bar.high)]
        parts.append(text(width - 4, y + 13, share(bar.value), cls="num", anchor="end"))
    parts += [text(x(t), bottom + 13, svg.tick_label(t), cls="tick", anchor="middle") for t in (0, 0.5, 1)]
    return drawing(width, bottom + 20, parts, label=title)


def _short(reason: str, most: int = 44) -> str:
    return reason if len(reason) <= most else reason[: most - 1] + "…"


@dataclass(frozen=True)
class ScoreAxis:
    """The score axis that all histograms of a detector share. ``bend``: where it turns from linear to logarithmic."""

    low: float
    high: float
    bend: float | None


def score_axis(scores: Floats, threshold: float) -> ScoreAxis:
    """Axis over finite scores and the threshold: 0 to 1 where they are shares; bent where their tail is heavy."""
    low, high = min(float(scores.min()), threshold), max(float(scores.max()), threshold)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    typical = float(np.median(np.abs(scores)))
    bent = typical > 0 and max(abs(low), abs(high)) > 200 * typical
    return ScoreAxis(low, high if high > low else low + 1.0, typical if bent else None)


def histogram(
    title: str, benign: Floats, attack: Floats, threshold: float, axis: ScoreAxis, *, bins: int
) -> str:
    """Scores of benign and attack windows, each as shares of its class on a square-root axis, and the threshold.

    A bent axis is an inverse hyperbolic sine: linear near 0, logarithmic beyond the bend.
    """
    width, height, left, base = 300.0, 118.0, 6.0, 96.0
    if not len(benign) and not len(attack):
        return drawing(width, 30, [text(left, 18, "no windows", cls="none")], label=title)
    bend, low, high = axis.bend, axis.low, axis.high
    edges = np.linspace(_warp(low, bend), _warp(high, bend), bins + 1)
    x = Scale(float(edges[0]), float(edges[-1]), left, width - left)
    parts = [line(left, base, width - left, base, cls="axis")]
    for values, name in ((benign, "benign"), (attack, "attack")):
        if len(values):
            heights = np.sqrt(np.histogram(_warp(values, bend), edges)[0] / len(values))
            parts.append(_steps(edges, heights, x, base, 78.0, name, f"{name}: {len(values)} windows"))
    for at in (low, *([0.5 * (low + high)] if bend is None else []), high):
        anchor = {low: "start", high: "end"}.get(at, "middle")
        parts.append(
            text(x(float(_warp(at, bend))), base + 13, numbers.threshold(at), cls="tick", anchor=anchor)
        )
    where = x(float(_warp(threshold, bend)))
    parts.append(line(where, 10, where, base, cls="threshold"))
    anchor = "end" if where > width / 2 else "start"
    label = f"threshold {numbers.threshold(threshold)}"
    parts.append(text(where + (-4 if anchor == "end" else 4), 16, label, cls="tick", anchor=anchor))
    return drawing(width, height, parts, label=title)


def _warp(values: Floats | float, bend: float | None) -> Floats:
    return (
        np.asarray(values, np.float64) if bend is None else np.arcsinh(np.asarray(values, np.float64) / bend)
    )


def _steps(edges: Floats, heights: Floats, x: Scale, base: float, tall: float, name: str, tip: str) -> str:
    points = [(x(float(edges[0])), base)]
    for i, h in enumerate(heights):
        y = base - float(h) * tall
        points += [(x(float(edges[i])), y), (x(float(edges[i + 1])), y)]
    points.append((x(float(edges[-1])), base))
    return path(points, cls=f"hist {name}", closed=True, title=tip)


@dataclass(frozen=True)
class Curve:
    """One line of a chart: points in order, an optional band, a CSS colour and a dash."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dash: str = ""


def curves(
    title: str,
    lines: Sequence[Curve],
    *,
    x_label: str,
    unit_range: bool = False,
    log_x: bool = False,
    steps: bool = False,
) -> str:
    """A line chart; y is logarithmic where values span more than a factor of 50 above 0.

    ``unit_range``: y runs from 0 to 1. ``log_x``: x is logarithmic, and points at 0 stand at its left edge. ``steps``: a
    value holds until the next point.
    """
    width, height, left, bottom, top = 320.0, 190.0, 40.0, 158.0, 12.0
    drawn = [(c, [(a, b) for a, b in c.points if math.isfinite(a) and math.isfinite(b)]) for c in lines]
    ys = [b for _, points in drawn for _, b in points]
    xs = [a for _, points in drawn for a, _ in points]
    if not ys:
        return drawing(width, 30, [text(8, 18, "no finite values", cls="none")], label=title)
    x, y = _axes(xs, ys, (left, width - 10), (bottom, top), unit_range=unit_range, log_x=log_x)
    parts = []
    for t in y.ticks(4):
        parts.append(line(left, y(t), width - 10, y(t), cls="grid"))
        parts.append(text(left - 5, y(t) + 3.5, svg.tick_label(t), cls="tick", anchor="end"))
    for t in x.ticks(5):
        # A logarithmic axis has no 0; its left edge, the decade below every point, stands for it.
        label = "0" if log_x and t == x.low else svg.tick_label(t)
        parts.append(text(x(t), bottom + 13, label, cls="tick", anchor="middle"))
    parts.append(line(left, bottom, width - 10, bottom, cls="axis"))
    parts.append(text((left + width) / 2, height - 4, x_label, cls="tick", anchor="middle"))
    for curve, points in drawn:
        if len(points) == 1:
            dot = f'<circle cx="{px(x(points[0][0]))}" cy="{px(y(points[0][1]))}" r="2.5" style="fill:{curve.colour}"/>'
            parts.append(dot)
        elif points:
            style = f"stroke:{curve.colour}" + (f";stroke-dasharray:{curve.dash}" if curve.dash else "")
            joined = _stairs(points) if steps else points
            parts.append(path([(x(a), y(b)) for a, b in joined], cls="curve", style=style, title=curve.label))
    return drawing(width, height, parts, label=title)


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    corners = [points[0]]
    for (_, before), (at, value) in itertools.pairwise(points):
        corners += [(at, before), (at, value)]
    return corners


def _axes(
    xs: Sequence[float],
    ys: Sequence[float],
    across: tuple[float, float],
    up: tuple[float, float],
    *,
    unit_range: bool,
    log_x: bool,
) -> tuple[Scale, Scale]:
    if log_x:
        positive = [v for v in xs if v > 0] or [1.0]
        x = Scale(
            10 ** (math.ceil(math.log10(min(positive)) - 1e-9) - 1),
            10 ** math.ceil(math.log10(max(positive)) + 1e-9),
            *across,
            log=True,
        )
    else:
        x = Scale(min(xs), max(xs), *across)
    if unit_range:
        return x, Scale(0, 1, *up)
    low, high = min(ys), max(ys)
    if low > 0 and high / low > 50:
        return x, Scale(low, high, *up, log=True)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return x, Scale(low - pad if low < 0 or low - pad > 0 else 0.0, high + pad, *up)


@dataclass(frozen=True)
class HeatCell:
    """One square of a grid: its column and row from 0, a value from 0 to 1, and how many windows it stands for."""

    column: int
    row: int
    value: float
    windows: int


def heat(title: str, cells: Sequence[HeatCell], *, bins: int, x_label: str, y_label: str, colour: str) -> str:
    """A grid of ``bins`` × ``bins`` shares from 0 to 1 on both axes, rows upwards; squares without windows stay empty.

    The fuller the colour, the higher the value; the value stands in the square, its windows in the tip.
    """
    width, height, left, top = 320.0, 300.0, 44.0, 8.0
    side = (width - left - 10) / bins
    bottom = top + side * bins
    x, y = Scale(0, bins, left, left + side * bins), Scale(0, bins, bottom, top)
    parts = []
    for cell in cells:
        at_x, at_y = x(cell.column), y(cell.row + 1)
        tip = f"{share(cell.value)} over {cell.windows} windows"
        style = f"fill:{colour};fill-opacity:{0.1 + 0.9 * cell.value:.2f}"
        parts.append(rect(at_x + 0.5, at_y + 0.5, side - 1, side - 1, style=style, title=tip))
        label = f"{cell.value:.2f}".lstrip("0") if cell.value < 1 else "1"
        parts.append(text(at_x + side / 2, at_y + side / 2 + 3.5, label, cls="tick", anchor="middle"))
    for t in (0.0, 0.5, 1.0):
        parts.append(text(x(t * bins), bottom + 13, svg.tick_label(t), cls="tick", anchor="middle"))
        parts.append(text(left - 5, y(t * bins) + 3.5, svg.tick_label(t), cls="tick", anchor="end"))
    parts.append(line(left, bottom, left + side * bins, bottom, cls="axis"))
    parts.append(line(left, top, left, bottom, cls="axis"))
    parts.append(text(left + side * bins / 2, height - 6, x_label, cls="tick", anchor="middle"))
    parts.append(text(left, top - 1, y_label, cls="tick"))
    return drawing(width, height, parts, label=title)
