"""What a table and a page say of adapted thresholds."""

from __future__ import annotations

import polars as pl

from candor.ids.evaluation.adapted import ADAPTED
from candor.report.adapted import ALONE, RULE, threshold_notes
from candor.report.raised import adapted_table


def shown(**figures: tuple[float | None, float | None]) -> pl.DataFrame:
    """``detector=(adapted, plain)`` F1 of the scenario ``new``; FPR is 0 either way."""
    rows = []
    for detector, (adapted, plain) in figures.items():
        of = {"scenario": "new", "detector": detector, "variant": "student", "level": "window"}
        rows += [{**of, "metric": "f1", "value": adapted}, {**of, "metric": "f1@plain", "value": plain}]
        rows += [{**of, "metric": m, "value": 0.0} for m in ("fpr", "fpr@plain")]
    return pl.DataFrame(rows)


def test_only_detectors_whose_figure_changed_are_named() -> None:
    rule, changed = threshold_notes(shown(vgae=(1.0, 0.2), gat=(0.9, 0.9)))
    assert rule == RULE
    assert changed == "At validation's own thresholds, new: vgae student F1 0.200, FPR 0."


def test_where_nothing_changed_the_table_says_so() -> None:
    assert threshold_notes(shown(gat=(0.9, 0.9)))[1].startswith("No figure differs")


def test_without_an_unknown_vehicle_thresholds_are_validations_alone() -> None:
    window = shown(gat=(0.9, 0.9)).filter(~pl.col("metric").str.contains("@"))
    assert threshold_notes(window) == [ALONE]


def test_the_page_shows_a_member_without_a_floor_and_why() -> None:
    row = {
        "detector": "or",
        "variant": "student",
        "seed": 1,
        "capture": "c",
        "member": "vgae",
        "threshold": 0.5,
        "floor": None,
        "adapted": 0.5,
        "windows": 3,
        "used": 0,
        "reason": "3 calibration windows are fewer than 40",
    }
    html = adapted_table(pl.DataFrame([row], schema=ADAPTED))
    assert "fewer than 40" in html
    assert "vgae" in html
