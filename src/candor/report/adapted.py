"""What the figures would be at validation's own thresholds, where calibration seconds raised them: lines below a table."""

from __future__ import annotations

import polars as pl

from candor.report.numbers import share

#: Ends the name of a window metric at validation's own threshold (ids.evaluation.measure).
PLAIN = "@plain"
_SHOWN = (("f1", "F1"), ("fpr", "FPR"))
#: Differences below this do not show in the table.
_VISIBLE = 5e-4

RULE = (
    "Thresholds come from validation; on a vehicle that is calibrated on its own first seconds, the scores of those seconds "
    "may raise them, without labels."
)
ALONE = "Thresholds come from validation alone."


def threshold_notes(shown: pl.DataFrame) -> list[str]:
    """Where thresholds come from, and for every scenario the detectors whose F1 or FPR an adapted threshold changed.

    ``shown``: rows of whole scenarios, the mean over seeds where there are several.
    """
    window = shown.filter(level="window")
    plain = window.filter(pl.col("metric").str.ends_with(PLAIN))
    if plain.is_empty():
        return [ALONE]
    value = {
        (r["scenario"], r["detector"], r["variant"], r["metric"]): r["value"]
        for r in window.iter_rows(named=True)
    }
    said: dict[str, list[str]] = {}
    for scenario, detector, variant in sorted(
        plain.select("scenario", "detector", "variant").unique().iter_rows()
    ):
        before = [value.get((scenario, detector, variant, m + PLAIN)) for m, _ in _SHOWN]
        after = [value.get((scenario, detector, variant, m)) for m, _ in _SHOWN]
        if any(_differ(a, b) for a, b in zip(before, after, strict=True)):
            figures = ", ".join(f"{name} {share(v)}" for (_, name), v in zip(_SHOWN, before, strict=True))
            said.setdefault(scenario, []).append(f"{detector} {variant} {figures}")
    lines = [
        f"At validation's own thresholds, {scenario or 'all captures'}: {'; '.join(parts)}."
        for scenario, parts in said.items()
    ]
    return [RULE, *(lines or ["No figure differs from that at validation's own thresholds."])]


def _differ(one: float | None, other: float | None) -> bool:
    return one != other if one is None or other is None else abs(one - other) >= _VISIBLE
