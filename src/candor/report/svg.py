"""A few SVG primitives. Colours are CSS variables of the page, so that one drawing serves light and dark.

Legend: coordinates in px of the drawing's own viewBox, y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


def px(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Scale:
    """Maps data to pixels, linearly or by logarithm; values outside are held at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, v = (self._t(x) for x in (self.low, self.high, value))
        share = (v - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def _t(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers within the range; decades on a logarithmic scale."""
        if self.log:
            first, last = math.ceil(self._t(self.low) - 1e-9), math.floor(self._t(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / most))
            decades = [10.0**k for k in range(first, last + 1, step)]
            return decades if len(decades) > 1 else [self.low, self.high]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / most
        unit = 10.0 ** math.floor(math.log10(rough))
        step_size = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough - 1e-12)
        first = math.ceil(self.low / step_size - 1e-9)
        last = math.floor(self.high / step_size + 1e-9)
        return [round(k * step_size, 12) for k in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Short text of a tick."""
    if value and (abs(value) >= 10_000 or abs(value) < 0.001):
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:g}"


def text(x: float, y: float, content: str, *, cls: str = "", anchor: str = "start", title: str = "") -> str:
    """A line of text; ``cls`` names CSS classes."""
    tip = f"<title>{escape(title)}</title>" if title else ""
    at = f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"'
    return f"{at}{_cls(cls)}>{escape(content)}{tip}</text>"


def line(x1: float, y1: float, x2: float, y2: float, *, cls: str = "", style: str = "") -> str:
    at = f'<line x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"'
    return f"{at}{_cls(cls)}{_style(style)}/>"


def rect(x: float, y: float, w: float, h: float, *, cls: str = "", style: str = "", title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    at = f'<rect x="{px(x)}" y="{px(y)}" width="{px(max(0.0, w))}" height="{px(h)}" rx="1.5"'
    return f"{at}{_cls(cls)}{_style(style)}>{tip}</rect>"


def path(
    points: Sequence[tuple[float, float]],
    *,
    cls: str = "",
    style: str = "",
    closed: bool = False,
    title: str = "",
) -> str:
    """A polyline, or an area where ``closed``."""
    tip = f"<title>{escape(title)}</title>" if title else ""
    d = "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points) + ("Z" if closed else "")
    return f'<path d="{d}"{_cls(cls)}{_style(style)}>{tip}</path>'


def drawing(width: float, height: float, parts: Sequence[str], *, label: str) -> str:
    """A whole SVG that scales with its place; ``label`` is what a screen reader says."""
    head = f'<svg viewBox="0 0 {px(width)} {px(height)}" role="img" aria-label="{escape(label, quote=True)}"'
    return f'{head} style="max-width:{px(width * 1.25)}px">' + "".join(parts) + "</svg>"


def _cls(names: str) -> str:
    return f' class="{names}"' if names else ""


def _style(style: str) -> str:
    return f' style="{escape(style, quote=True)}"' if style else ""
