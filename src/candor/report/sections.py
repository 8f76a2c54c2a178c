"""What each part of the page shows, from the tables of a run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import polars as pl

from candor.report import html, numbers
from candor.report.figures import Bar, Curve, bars, curves, histogram, score_axis
from candor.report.html import Cell, Row, card, grid, legend, number, section, sortable, word
from candor.report.look import DASHES, Palette, scenario_name
from candor.report.tables import RIVALS, headline, intervals, lowest_rate, rank

Rows = dict[tuple[str, str, str, str, str], dict[str, dict[str, Any]]]

_WINDOW = (
    ("f1", "F1"),
    ("macro_f1", "macro-F1"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("fpr", "FPR"),
)
_WINDOW_MORE = (("mcc", "MCC"), ("auroc", "AUROC"), ("auc_pr", "AUC-PR"))


def by_place(results: pl.DataFrame, level: str) -> Rows:
    """(scenario, capture, attack, detector, variant) → metric → headline row of that level."""
    found: Rows = {}
    for row in headline(results).filter(pl.col("level") == level).iter_rows(named=True):
        key = (row["scenario"], row["capture"], row["attack"], row["detector"], row["variant"])
        found.setdefault(key, {})[row["metric"]] = row
    return found


def scenario_bars(results: pl.DataFrame, colours: Palette) -> str:
    """Bars per scenario, one tab per metric."""
    rate = lowest_rate(results)
    at = rate.removeprefix("@").removesuffix("/h")
    picks = [("f1", "F1"), ("auroc", "AUROC"), ("recall", "recall"), ("fpr", "FPR"), ("auc_pr", "AUC-PR")]
    picks.append((f"event_recall{rate}", f"event recall at {at} FA/h"))
    whole = headline(results).filter((pl.col("capture") == "") & (pl.col("attack") == ""))
    panels = []
    for metric, label in picks:
        cards = []
        for (scenario,), part in whole.filter(metric=metric).partition_by("scenario", as_dict=True).items():
            rows = sorted(part.iter_rows(named=True), key=lambda r: rank(r["detector"], r["variant"]))
            name = scenario_name(str(scenario))
            cards.append(card(name, bars(f"{label}, {name}", [_bar(r, colours) for r in rows])))
        panels.append((label, grid(cards)))
    lead = f"Whiskers: interval within one seed{intervals(results)}; or one standard deviation either way over several seeds."
    return section("scenarios", "By scenario", lead, legend(colours.legend()) + html.tabs("metric", panels))


def _bar(row: dict[str, Any], colours: Palette) -> Bar:
    label = row["detector"] if row["variant"] in RIVALS else f"{row['detector']} · {row['variant']}"
    value, low, high = row["value"], row["low"], row["high"]
    if value is not None and row["sd"] is not None:
        low, high = max(0.0, value - row["sd"]), min(1.0, value + row["sd"])
    return Bar(label, value, low, high, colours[row["detector"]], row["undefined_reason"] or "")


def window_table(results: pl.DataFrame) -> str:
    """Every window metric of every slice, controls included."""
    picks = (*_WINDOW, *_WINDOW_MORE)
    heads = [("scenario", "left"), ("capture / family", "left"), ("detector", "left"), ("variant", "left")]
    heads += [(label, "right") for _, label in picks] + [("windows", "right"), ("attack", "right")]
    rows = []
    found = by_place(results, "window")
    for key in sorted(found, key=_place_order):
        scenario, capture, attack, detector, variant = key
        metrics = found[key]
        any_row = next(iter(metrics.values()))
        cells = [word(scenario), word(capture or attack), word(detector), word(variant)]
        cells += [number(metrics.get(m), digits=4 if m == "fpr" else 3) for m, _ in picks]
        cells += [html.count(any_row["windows"]), html.count(any_row["attack_windows"])]
        rows.append(Row(cells, _kind(capture, attack), variant))
    bar = html.filter_bar("windows-table", _KINDS, "filter, e.g. gat student")
    lead = (
        "One row per detector and scenario, capture or attack family. Click a head to sort; "
        "rest the pointer on an interval for what it is from, on a dash for why a value is undefined."
    )
    return section("windows", "Windows", lead, bar + sortable("windows-table", heads, rows))


_KINDS = (
    ("scenario", "scenarios"),
    ("capture", "captures"),
    ("family", "attack families"),
    ("", "everything"),
)


def _kind(capture: str, attack: str) -> str:
    return "family" if attack else "capture" if capture else "scenario"


def _place_order(key: tuple[str, str, str, str, str]) -> tuple[Any, ...]:
    scenario, capture, attack, detector, variant = key
    return scenario, bool(attack), bool(capture), capture, attack, rank(detector, variant)


def event_table(results: pl.DataFrame, remarks: Sequence[str] = ()) -> str:
    """Event recall, false alarms really seen and time to alarm, at every rate. ``remarks``: on where events come from."""
    rates = sorted({m.partition("@")[2] for m in results["metric"].to_list() if m.endswith("/h")}, key=_rate)
    heads = [("scenario", "left"), ("capture / family", "left"), ("detector", "left"), ("variant", "left")]
    heads += [("events", "right")]
    for rate in rates:
        heads += [
            (f"recall @{rate}", "right"),
            (f"FA/h seen @{rate}", "right"),
            (f"s to alarm @{rate}", "right"),
        ]
    rows = []
    found = by_place(results, "event")
    for key in sorted(found, key=_place_order):
        scenario, capture, attack, detector, variant = key
        metrics = found[key]
        cells = [word(scenario), word(capture or attack), word(detector), word(variant)]
        cells.append(html.count(next(iter(metrics.values()))["events"]))
        for rate in rates:
            cells.append(number(metrics.get(f"event_recall@{rate}"), digits=2))
            cells += [
                number(metrics.get(f"{m}@{rate}"), is_share=False)
                for m in ("false_alarms_per_hour", "time_to_alarm_s")
            ]
        rows.append(Row(cells, _kind(capture, attack), variant))
    bar = html.filter_bar("events-table", _KINDS, "filter, e.g. fusion dos")
    lead = (
        "An event is one attack interval; it is detected when a window that overlaps it is flagged. "
        "@1/h: the threshold that validation says costs one false alarm per hour; beside it, the false alarms "
        "per hour of benign test traffic that it really cost. Time runs from the start of the event to the end "
        "of the first flagged window, median over detected events. "
        "Rest the pointer on an interval for what it is from."
    )
    lead = " ".join([lead, *remarks])
    return section("events", "Events", lead, bar + sortable("events-table", heads, rows))


def _rate(name: str) -> float:
    return float(name.removesuffix("/h"))


def operating_curves(operating: pl.DataFrame, colours: Palette) -> str:
    """Event recall against false alarms per hour, first seed of every detector, by scenario."""
    cards = []
    for (scenario,), part in operating.partition_by("scenario", as_dict=True).items():
        lines = []
        for (detector, variant), rows in (
            _first_seed(part).partition_by(["detector", "variant"], as_dict=True).items()
        ):
            points = list(rows.select("false_alarms_per_hour", "event_recall").iter_rows())
            dash = DASHES.get(str(variant), "")
            lines.append(Curve(f"{detector} · {variant}", points, colours[str(detector)], dash))
        # Rivals below, so that a model's line is not hidden by one.
        lines.sort(key=lambda c: not c.label.endswith(tuple(f"· {v}" for v in RIVALS)))
        name = scenario_name(str(scenario))
        figure = curves(name, lines, x_label="false alarms per hour", unit_range=True, log_x=True, steps=True)
        cards.append(card(name, figure))
    marks = [("teacher", "var(--soft)", "solid"), ("student_kd", "var(--soft)", "dashed")]
    marks.append(("student", "var(--soft)", "dotted"))
    lead = (
        "Event recall over all thresholds of the test traffic itself: a view of what ranking would allow. "
        "No figure in the tables is chosen here. First seed."
    )
    body = legend([*colours.legend(), *marks]) + grid(cards, size="mid")
    return section("operating", "Operating curves", lead, body)


def _first_seed(df: pl.DataFrame) -> pl.DataFrame:
    return df.filter(pl.col("seed") == pl.col("seed").min().over("detector", "variant"))


def score_distributions(predictions: pl.DataFrame, *, bins: int) -> str:
    """Histograms of benign and attack windows per scenario; one fold per detector, teachers open."""
    parts = []
    groups = _first_seed(predictions).partition_by(["detector", "variant"], as_dict=True)
    order = sorted(groups, key=lambda k: rank(str(k[0]), str(k[1])))
    first = order[0][1]
    for detector, variant in order:
        cards, whole = [], groups[detector, variant]
        # Where calibration seconds raised it, it is another one on every capture.
        threshold = float(whole["threshold"].to_numpy().min())
        axis = score_axis(whole["score"].to_numpy(), threshold)
        for (scenario,), part in whole.partition_by("scenario", as_dict=True).items():
            s, y = part["score"].to_numpy(), part["y"].to_numpy() == 1
            name = scenario_name(str(scenario))
            lowest = float(part["threshold"].to_numpy().min())
            figure = histogram(f"{detector} {variant}, {name}", s[~y], s[y], lowest, axis, bins=bins)
            cards.append(card(name, figure))
        opened = " open" if variant in ("teacher", first) else ""
        parts.append(
            f"<details{opened}><summary><b>{escape(str(detector))}</b> · {escape(str(variant))}</summary>"
            f"{grid(cards, size='small')}</details>"
        )
    marks = [("benign windows", "var(--benign)", "solid"), ("attack windows", "var(--attack)", "solid")]
    marks.append(("threshold (lowest of the captures')", "var(--mark)", "dashed"))
    lead = (
        "Share of each class's test windows per score bin, on a square-root axis so that rare mistakes stay visible. "
        "First seed."
    )
    return section("scores", "Scores", lead, legend(marks) + "".join(parts))


def training_curves(history: dict[str, pl.DataFrame]) -> str:
    """Metrics that stages logged, one figure per stage and metric. ``history``: lane name → rows."""
    stages: dict[str, dict[tuple[str, str], list[Curve]]] = {}
    variants = sorted({_lane(name)[1] for name in history}, key=lambda v: rank("", v))
    colour = {v: f"var(--d{i % 6})" for i, v in enumerate(variants)}
    for name, rows in history.items():
        stage, variant, seed = _lane(name)
        for (kind, metric), part in rows.partition_by(["kind", "metric"], as_dict=True).items():
            points = [(float(s), float(v)) for s, v in part.sort("step").select("step", "value").iter_rows()]
            label = f"{variant or stage}{f' · {seed}' if seed else ''}"
            curve = Curve(label, points, colour[variant])
            stages.setdefault(stage, {}).setdefault((str(kind), str(metric)), []).append(curve)
    parts = []
    for stage, figures in stages.items():
        cards = [
            card(metric, curves(f"{stage}: {metric}", lines, x_label=kind))
            for (kind, metric), lines in sorted(figures.items())
        ]
        parts.append(
            f"<details open><summary><b>{escape(stage)}</b></summary>{grid(cards, size='mid')}</details>"
        )
    marks = [(v or "only", colour[v], "solid") for v in variants]
    lead = "What each stage logged while it ran; one line per variant and seed."
    return section("training", "Training", lead, legend(marks) + "".join(parts))


def _lane(name: str) -> tuple[str, str, str]:
    """``autoencoder.teacher.s1`` → (stage, variant, seed); missing parts are ""."""
    parts = [*name.split("."), "", ""]
    return parts[0], parts[1], parts[2]


def threshold_table(thresholds: Sequence[dict[str, Any]]) -> str:
    """Every threshold, how it was chosen, and what validation said of it."""
    heads = [
        ("detector", "left"),
        ("variant", "left"),
        ("seed", "right"),
        ("rule", "left"),
        ("threshold", "right"),
    ]
    heads += [
        ("validation F1", "right"),
        ("validation FPR", "right"),
        ("benign validation h", "right"),
        ("remark", "left"),
    ]
    rows = []
    for t in sorted(thresholds, key=lambda t: (*rank(t["detector"], t["variant"]), t["seed"])):
        remarks = [t["reason"], *dict.fromkeys(r["reason"] for r in t["at_rates"])]
        cells = [word(t["detector"]), word(t["variant"]), html.count(t["seed"]), word(t["rule"])]
        cells += [
            Cell(escape(numbers.threshold(t["value"])), repr(t["value"])),
            _value(t["f1"]),
            _value(t["fpr"]),
            _value(t["validation_benign_hours"]),
        ]
        cells.append(word("; ".join(r for r in remarks if r)))
        rows.append(Row(cells, cls=t["variant"]))
    body = sortable("thresholds-table", heads, rows)
    return section(
        "thresholds", "Thresholds", "Chosen on validation windows; no test window was looked at.", body
    )


def _value(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:.4g}", repr(float(value)))


def capture_table(catalog: pl.DataFrame) -> str:
    """What was recorded, and what ingest refused of it."""
    heads = [
        ("capture", "left"),
        ("split", "left"),
        ("scenario", "left"),
        ("vehicle", "left"),
        ("attack", "left"),
    ]
    heads += [
        ("frames", "right"),
        ("s", "right"),
        ("IDs", "right"),
        ("attack share", "right"),
        ("quarantined", "right"),
    ]
    rows = []
    for c in catalog.iter_rows(named=True):
        cells = [word(c[k]) for k in ("capture", "split", "scenario", "vehicle", "attack")]
        cells += [
            html.count(c["rows"]),
            Cell(f"{c['duration_s']:.1f}", repr(c["duration_s"])),
            html.count(c["ids"]),
        ]
        cells += [_value(c["attack_share"]), html.count(c["quarantined"])]
        rows.append(Row(cells))
    lead = "Raw row order is kept; malformed rows are set aside and counted."
    return section("captures", "Captures", lead, sortable("captures-table", heads, rows))
