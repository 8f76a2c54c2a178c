"""The per-scenario table, from results rows (lake METRICS), as JSON for the CLI and as Markdown for the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypedDict

import polars as pl

from candor.report.adapted import threshold_notes
from candor.report.config import SHOWN
from candor.report.numbers import UNDEFINED, estimate, quantity, share

#: Order of variants: what was trained first, then what is derived from it, controls last.
VARIANTS = ("teacher", "student_kd", "student")
#: Variants that are no model of ours: what models must beat. They stand below them, in this order.
RIVALS = ("specialist", "baseline", "control")


class Column(TypedDict):
    name: str
    unit: str
    align: str


class Table(TypedDict):
    """``rows`` hold text as it should be printed, one cell per column; ``notes`` belong below.

    ``grouped``: the first column is the same over neighbouring rows, and may be written once above them.
    """

    title: str
    columns: list[Column]
    rows: list[list[str]]
    notes: list[str]
    grouped: bool


def title(column: Column) -> str:
    """Name and unit of a column."""
    return f"{column['name']} ({column['unit']})" if column["unit"] else column["name"]


def rank(detector: str, variant: str) -> tuple[int, str, int, str]:
    """Sorts detectors by name and variant; specialists, baselines and controls last."""
    place = VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)
    return RIVALS.index(variant) + 1 if variant in RIVALS else 0, detector, place, variant


def headline(results: pl.DataFrame) -> pl.DataFrame:
    """Rows to show: the mean over seeds where there are several, else the one seed with its interval."""
    key = ["detector", "variant", "split", "scenario", "capture", "attack", "level", "metric"]
    is_run = pl.col("seed").is_not_null()
    return results.filter(is_run != (is_run.sum().over(key) > 1))


def lowest_rate(results: pl.DataFrame) -> str:
    """The suffix ``@1/h`` of the strictest false-alarm rate in the results, "" if there is none."""
    names = results["metric"].unique().to_list()
    rates = {float(m.group(1)): m.group(0) for n in names if (m := re.search(r"@([\d.e+-]+)/h$", n))}
    return rates[min(rates)] if rates else ""


#: Heads of window metrics.
NAMES = {
    "f1": "F1",
    "macro_f1": "macro-F1",
    "precision": "precision",
    "recall": "recall",
    "fpr": "FPR",
    "mcc": "MCC",
    "auroc": "AUROC",
    "auc_pr": "AUC-PR",
}
#: Window metrics written without spread or interval, or the row would not fit a terminal.
_PLAIN = ("fpr",)


def summary_table(
    results: pl.DataFrame,
    *,
    heading: str = "Detectors by scenario",
    detectors: Sequence[str] = (),
    metrics: Sequence[str] = SHOWN,
) -> Table:
    """The table the CLI prints: one row per scenario and detector, rivals at the bottom of each scenario.

    Args:
        results: lake METRICS rows; whole-scenario rows are used.
        detectors: only these, and the rivals; all if empty.
        metrics: window metrics, in the order of their columns.
    """
    whole = results
    if detectors:
        results = results.filter(pl.col("detector").is_in(detectors) | pl.col("variant").is_in(RIVALS))
    rate = lowest_rate(results)
    label = rate.removeprefix("@").removesuffix("/h")
    of_events = [f"{m}{rate}" for m in ("event_recall", "false_alarms_per_hour", "time_to_alarm_s")]
    everything = headline(results).filter(capture="", attack="")
    shown = everything.filter(pl.col("metric").is_in([*metrics, *of_events]))
    cells: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for row in shown.iter_rows(named=True):
        cells.setdefault((row["scenario"], row["detector"], row["variant"]), {})[row["metric"]] = row
    rows = []
    for scenario, detector, variant in sorted(cells, key=lambda k: (k[0], *rank(k[1], k[2]))):
        found = cells[scenario, detector, variant]
        numbers = [
            share(found.get(m, {}).get("value")) if m in _PLAIN else estimate(found.get(m, {}))
            for m in metrics
        ]
        # The row must fit a terminal: the intervals of events stand in the page's tables.
        recall, alarms, wait = (found.get(m, {}).get("value") for m in of_events)
        numbers += [share(recall, 2), quantity(alarms), quantity(wait)]
        rows.append([scenario, detector, variant, *numbers])
    names = [("scenario", ""), ("detector", ""), ("variant", ""), *((NAMES[m], "") for m in metrics)]
    names += [(f"event recall at {label} FA/h", ""), ("FA/h seen", ""), ("time to alarm", "s")]
    columns = [
        Column(name=name, unit=unit, align="left" if i < 3 else "right")
        for i, (name, unit) in enumerate(names)
    ]
    said = [*verdict(whole), *notes(shown, threshold_notes(everything))]
    return Table(title=heading, columns=columns, rows=rows, notes=said, grouped=True)


_JUDGED = (("macro_f1", "macro-F1"), ("auroc", "AUROC"), ("auc_pr", "AUC-PR"))


def verdict(results: pl.DataFrame) -> list[str]:
    """Whether the best detector of ours beats the best of the others, on the mean over scenarios; where it loses.

    A detector counts where it has a value in every scenario that any has one in. Where a one-line specialist or a control is the
    best of the others, the best of those that were trained is told as well.
    """
    whole = headline(results).filter(capture="", attack="", level="window").drop_nulls("value")
    said = []
    for metric, name in _JUDGED:
        rows = whole.filter(metric=metric)
        scenarios = rows["scenario"].n_unique()
        rival = pl.col("variant").is_in(RIVALS)
        means = (
            rows.group_by("detector", "variant")
            .agg(pl.col("value").mean(), pl.col("scenario").n_unique().alias("places"))
            .filter(pl.col("places") == scenarios)
            .sort(["value", "detector", "variant"], descending=[True, False, False])
        )
        ours, theirs = means.filter(~rival), means.filter(rival)
        if ours.is_empty() or theirs.is_empty():
            continue
        mine, other = ours.row(0, named=True), theirs.row(0, named=True)
        best = rows.filter(rival).group_by("scenario").agg(pl.col("value").max().alias("best"))
        at = rows.filter(detector=mine["detector"], variant=mine["variant"]).join(best, on="scenario")
        lost = at.filter(pl.col("best") > pl.col("value"))["scenario"].sort().to_list()
        behind = (
            f"; behind the best of them in {', '.join(s or 'all captures' for s in lost)}" if lost else ""
        )
        over = f", mean over {scenarios} scenarios" if scenarios > 1 else ""
        said.append(
            f"{name}{over}: our best, {mine['detector']} {mine['variant']} ({share(mine['value'])}), "
            f"{_compared(mine, other)} the best of specialists, baselines and controls, "
            f"{other['detector']} ({share(other['value'])}){behind}."
        )
        trained = theirs.filter(variant="baseline")
        if other["variant"] != "baseline" and len(trained):
            third = trained.row(0, named=True)
            said[-1] += (
                f" It {_compared(mine, third)} the best baseline, {third['detector']} ({share(third['value'])})."
            )
    return said


def _compared(mine: dict[str, Any], other: dict[str, Any]) -> str:
    ahead = mine["value"] - other["value"]
    return "equals" if abs(ahead) < 1e-12 else "beats" if ahead > 0 else "does not beat"


def notes(shown: pl.DataFrame, thresholds: Sequence[str]) -> list[str]:
    """What the cells mean, and why some are empty. ``thresholds``: where they come from, first what holds for all."""
    seeds = max(shown["seeds"].to_list(), default=1)
    confidences = shown["confidence"].drop_nulls().to_list()
    found = []
    if seeds > 1:
        found.append(f"± standard deviation over {seeds} seeds.")
    if confidences:
        found.append(f"[low, high]: {100 * confidences[0]:g} % interval within one seed{intervals(shown)}.")
    found.append(
        f"{thresholds[0]} Event recall is at the threshold that validation puts at that many "
        "false alarms per hour (FA/h) of benign traffic; FA/h seen is what it came to on test traffic."
    )
    found += thresholds[1:]
    empty = shown.filter(pl.col("value").is_null())["undefined_reason"].drop_nulls().unique().sort().to_list()
    if empty:
        found.append(f"{UNDEFINED} undefined: {'; '.join(empty)}.")
    return found


#: How the interval of a share comes about, by the results' ``interval``. Event metrics are no shares of windows.
_INTERVALS = {
    "captures": "bootstrap of captures, then of blocks of windows within them",
    "blocks": "bootstrap of blocks of windows within captures, of which there is one of a kind",
    "binomial": "exact binomial where no window, or every one, is an error",
}


def intervals(shown: pl.DataFrame) -> str:
    """`` by bootstrap of captures ... (scenario, scenario); ...``: which scenarios have which interval; "" if none has."""
    rows = shown.filter(level="window").drop_nulls("low")
    said = []
    places = rows["scenario"].n_unique()
    for kind, words in _INTERVALS.items():
        where = rows.filter(interval=kind)["scenario"].unique().sort().to_list()
        drawn = kind != "binomial" and 0 < len(where) < places
        if where:
            said.append(words + (f" ({', '.join(s or 'all captures' for s in where)})" if drawn else ""))
    return f": {'; '.join(said)}" if said else ""


def markdown(table: Table) -> str:
    """The same table in Markdown; neighbouring equal scenarios are written once."""
    heads = [title(c) for c in table["columns"]]
    rule = ["---:" if c["align"] == "right" else ":---" for c in table["columns"]]
    lines = [_line(heads), _line(rule)]
    before = ""
    for row in table["rows"]:
        first = "" if row[0] == before else row[0]
        before = row[0]
        lines.append(_line([first, *row[1:]]))
    return "\n".join([*lines, "", *(f"{note}  " for note in table["notes"])]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
