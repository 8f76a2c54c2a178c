"""The page of a study: every trial as a line through its values, which values matter, how the trials went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from candor.report.figures import Bar, bars
from candor.report.html import Cell, Row, card, document, grid, section, sortable, word
from candor.report.svg import Scale, drawing, line, path, px, text, tick_label

Value = bool | int | float | str
_WIDTH, _HEIGHT, _TOP, _BOTTOM = 920.0, 320.0, 46.0, 26.0


@dataclass(frozen=True)
class StudyTrial:
    """One trial: ``value`` is the metric, ``curve`` its (epoch, metric)."""

    number: int
    state: str
    values: Mapping[str, Value]
    value: float | None
    reason: str = ""
    curve: Sequence[tuple[int, float]] = field(default_factory=list)


def study_page(
    name: str,
    metric: str,
    trials: Sequence[StudyTrial],
    importances: Mapping[str, float],
    *,
    best: int | None,
    lower_is_better: bool,
) -> str:
    """The whole page, self-contained."""
    done = [t for t in trials if t.value is not None]
    lead = f"{len(trials)} trials, {sum(t.state == 'complete' for t in trials)} complete."
    lines = [
        (
            "values",
            "Values",
            section(
                "values", "Values", _VALUES, card(metric, parallel_coordinates(done, best, lower_is_better))
            ),
        ),
        (
            "importance",
            "Importance",
            section("importance", "Importance", _IMPORTANCE, _importance(importances)),
        ),
        (
            "history",
            "History",
            section(
                "history",
                "History",
                _HISTORY,
                grid(
                    [card("Best so far", history(done, lower_is_better)), card("Curves", curves(done, best))]
                ),
            ),
        ),
        ("trials", "Trials", section("trials", "Trials", "All trials.", _table(trials, best))),
    ]
    head = f'<p class="lead">{escape(lead)} Metric: {escape(metric)} on validation windows; no test score was looked at.</p>'
    return document(f"Study {name}", head, lines, "Made by candor tune.")


_VALUES = "One line per trial through the values it had; the darker, the better. The best one is drawn bold."
_IMPORTANCE = "Share of the metric's variance that each value explains (fANOVA over complete trials)."
_HISTORY = "The best metric after each trial, and the metric of every trial over its epochs."


def parallel_coordinates(trials: Sequence[StudyTrial], best: int | None, lower_is_better: bool) -> str:
    """SVG: an axis per parameter, numbers linearly or by logarithm, choices spread evenly; the metric last."""
    if not trials:
        return "<p>No trial has a value yet.</p>"
    names = list(trials[0].values)
    axes = [_Axis.of(name, [t.values[name] for t in trials if name in t.values]) for name in names]
    metric = _Axis.of("metric", [t.value for t in trials if t.value is not None])
    step = (_WIDTH - 120) / len(axes)
    x = [60 + i * step for i in range(len(axes) + 1)]
    order = sorted(trials, key=lambda t: t.value or 0.0, reverse=lower_is_better)
    parts = []
    for rank, trial in enumerate(order):
        points = [
            (x[i], axis.y(trial.values[axis.name]))
            for i, axis in enumerate(axes)
            if axis.name in trial.values
        ]
        points.append((x[-1], metric.y(trial.value if trial.value is not None else 0.0)))
        bold = trial.number == best
        share = (rank + 1) / len(order)
        style = f"stroke:var(--d0);stroke-opacity:{0.08 + 0.5 * share**2:.2f}"
        style = "stroke:var(--d1);stroke-width:2.6" if bold else style
        parts.append(path(points, cls="curve", style=style, title=f"trial {trial.number}: {trial.value:.6g}"))
    for at, axis in zip(x, [*axes, metric], strict=True):
        parts.append(line(at, _TOP, at, _HEIGHT - _BOTTOM, cls="axis"))
        short = axis.name.rpartition(".")[2] if axis.name != "metric" else "metric"
        parts.append(text(at, 16, short, cls="row", anchor="middle", title=axis.name))
        parts += [text(at + 5, axis.y(v) + 3.5, label, cls="tick") for v, label in axis.ticks()]
    return drawing(_WIDTH, _HEIGHT, parts, label="parallel coordinates of all trials")


@dataclass(frozen=True)
class _Axis:
    name: str
    choices: tuple[Value, ...]
    scale: Scale

    @classmethod
    def of(cls, name: str, values: Sequence[Value]) -> _Axis:
        span = (_HEIGHT - _BOTTOM, _TOP)
        if (
            all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            and len(set(values)) > 4
        ):
            numbers = [float(v) for v in values]
            low, high = min(numbers), max(numbers)
            return cls(name, (), Scale(low, high, *span, log=low > 0 and high / low > 20))
        choices = tuple(sorted(set(values), key=lambda v: (isinstance(v, str), v)))
        return cls(name, choices, Scale(-0.5, len(choices) - 0.5, *span))

    def y(self, value: Value) -> float:
        return self.scale(self.choices.index(value) if self.choices else float(value))

    def ticks(self) -> list[tuple[Value, str]]:
        if self.choices:
            return [(c, tick_label(c) if isinstance(c, float) else str(c)) for c in self.choices]
        return [(t, tick_label(t)) for t in self.scale.ticks(4)]


def _importance(importances: Mapping[str, float]) -> str:
    if not importances:
        return "<p>Not known yet: it takes four complete trials that differ.</p>"
    rows = [Bar(name, share, None, None, "var(--d0)") for name, share in importances.items()]
    return card("Importance", bars("importance of each value", rows))


def history(trials: Sequence[StudyTrial], lower_is_better: bool) -> str:
    """SVG: the metric of each trial as a dot, and the best so far as a line."""
    if not trials:
        return "<p>No trial has a value yet.</p>"
    values = [t.value for t in trials if t.value is not None]
    x = Scale(-0.5, max(t.number for t in trials) + 0.5, 60, 440)
    y = _metric_scale(values, 200, 12)
    best, so_far = math.inf if lower_is_better else -math.inf, []
    for trial in trials:
        value = trial.value if trial.value is not None else best
        if trial.state == "complete":
            best = min(best, value) if lower_is_better else max(best, value)
        if math.isfinite(best):
            so_far.append((x(trial.number), y(best)))
    parts = _frame(x, y, "trial")
    parts += [_dot(x(t.number), y(t.value), t) for t in trials if t.value is not None]
    if so_far:
        parts.append(path(so_far, cls="curve", style="stroke:var(--d1)"))
    return drawing(460, 236, parts, label="best metric after each trial")


def curves(trials: Sequence[StudyTrial], best: int | None) -> str:
    """SVG: the metric of every trial over its epochs; pruned ones end early."""
    points = [(epoch, value) for t in trials for epoch, value in t.curve if math.isfinite(value)]
    if not points:
        return "<p>No trial has a curve yet.</p>"
    x = Scale(min(e for e, _ in points), max(e for e, _ in points), 60, 440)
    y = _metric_scale([v for _, v in points], 200, 12)
    parts = _frame(x, y, "epoch")
    for trial in sorted(trials, key=lambda t: t.number == best):
        drawn = [(x(e), y(v)) for e, v in trial.curve if math.isfinite(v)]
        style = (
            "stroke:var(--d1);stroke-width:2.6"
            if trial.number == best
            else "stroke:var(--d0);stroke-opacity:.35"
        )
        if drawn:
            parts.append(path(drawn, cls="curve", style=style, title=f"trial {trial.number}"))
    return drawing(460, 236, parts, label="metric over epochs")


def _metric_scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    return Scale(low, high, start, end, log=low > 0 and high / low > 20)


def _frame(x: Scale, y: Scale, label: str) -> list[str]:
    parts = [line(x.start, y(t), x.end, y(t), cls="grid") for t in y.ticks()]
    parts += [text(x.start - 6, y(t) + 3.5, tick_label(t), cls="tick", anchor="end") for t in y.ticks()]
    parts += [
        text(x(t), y.start + 16, tick_label(t), cls="tick", anchor="middle") for t in x.ticks() if t == int(t)
    ]
    parts.append(text((x.start + x.end) / 2, y.start + 31, label, cls="tick", anchor="middle"))
    return parts


def _dot(x: float, y: float, trial: StudyTrial) -> str:
    colour = "var(--d0)" if trial.state == "complete" else "var(--control)"
    return (
        f'<circle cx="{px(x)}" cy="{px(y)}" r="3" style="fill:{colour}">'
        f"<title>trial {trial.number}: {trial.value:.6g} ({trial.state})</title></circle>"
    )


def _table(trials: Sequence[StudyTrial], best: int | None) -> str:
    names = list(trials[0].values) if trials else []
    heads = [
        ("Trial", "right"),
        ("State", "left"),
        ("Metric", "right"),
        *((n, "left") for n in names),
        ("Reason", "left"),
    ]
    rows = []
    for trial in trials:
        value = Cell("–") if trial.value is None else Cell(f"{trial.value:.6g}", repr(trial.value))
        number = Cell(
            f"<b>{trial.number}</b>" if trial.number == best else str(trial.number), str(trial.number)
        )
        cells = [word(_short(trial.values.get(n, ""))) for n in names]
        rows.append(Row([number, word(trial.state), value, *cells, word(trial.reason)]))
    return sortable("trials-table", heads, rows)


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
