"""False alarms per hour against calibration seconds: the section of the page."""

from __future__ import annotations

import polars as pl

from candor.report import html
from candor.report.figures import Curve, curves
from candor.report.html import Cell, Row, card, grid, legend, section, sortable, word
from candor.report.look import DASHES, Palette, scenario_name
from candor.report.numbers import quantity, share
from candor.report.tables import RIVALS, rank


def calibration_curve(curve: pl.DataFrame, colours: Palette) -> str:
    """A figure per scenario, at the main threshold, and the table of all thresholds; mean over seeds."""
    key = ["scenario", "detector", "variant", "point", "calibration_s"]
    mean = curve.group_by(key, maintain_order=True).agg(
        pl.col("false_alarms_per_hour", "fpr", "event_recall", "benign_hours").mean(),
        pl.col("seed").len().alias("seeds"),
    )
    cards = []
    main = mean.filter(pl.col("point") == "threshold")
    for (scenario,), part in main.partition_by("scenario", as_dict=True, maintain_order=True).items():
        lines = []
        for (detector, variant), rows in part.partition_by(
            ["detector", "variant"], as_dict=True, maintain_order=True
        ).items():
            points = list(
                rows.drop_nulls("false_alarms_per_hour")
                .sort("calibration_s")
                .select("calibration_s", "false_alarms_per_hour")
                .iter_rows()
            )
            dash = DASHES.get(str(variant), "")
            lines.append(Curve(f"{detector} · {variant}", points, colours[str(detector)], dash))
        lines.sort(key=lambda c: not c.label.endswith(tuple(f"· {v}" for v in RIVALS)))
        name = scenario_name(str(scenario))
        cards.append(
            card(name, curves(f"false alarms per hour, {name}", lines, x_label="calibration seconds"))
        )
    heads = [("scenario", "left"), ("detector", "left"), ("variant", "left"), ("threshold for", "left")]
    heads += [("calibration s", "right"), ("FA/h", "right"), ("FPR", "right"), ("event recall", "right")]
    heads += [("benign h", "right"), ("seeds", "right")]
    ordered = sorted(
        mean.iter_rows(named=True),
        key=lambda r: (r["scenario"], rank(r["detector"], r["variant"]), r["point"], r["calibration_s"]),
    )
    lines_of = [
        Row(
            [
                *(word(r[k]) for k in ("scenario", "detector", "variant")),
                word("validation" if r["point"] == "threshold" else r["point"]),
                Cell(f"{r['calibration_s']:g}", repr(r["calibration_s"])),
                _number(r["false_alarms_per_hour"], quantity(r["false_alarms_per_hour"])),
                _number(r["fpr"], share(r["fpr"])),
                _number(r["event_recall"], share(r["event_recall"], 2)),
                _number(r["benign_hours"], quantity(r["benign_hours"])),
                html.count(r["seeds"]),
            ]
        )
        for r in ordered
    ]
    lead = (
        "Every test capture calibrated on its own first seconds, without labels; models and thresholds are those of the run. "
        "The calibration seconds themselves are left out, so captures shorter than a point have none left there."
    )
    body = legend(colours.legend()) + grid(cards, size="mid")
    return section("calibration", "Calibration", lead, body + sortable("calibration-table", heads, lines_of))


def _number(value: float | None, text: str) -> Cell:
    return Cell(text, "" if value is None else repr(value))
