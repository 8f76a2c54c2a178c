"""The report stage: the tables of a run → one self-contained page, and the table that the command line prints."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from candor.config.fingerprint import digest
from candor.errors import SourceMissing
from candor.flow.stage import Inputs, Output, Result
from candor.report import sections
from candor.report.audited import allowed, allowed_notes, read_findings
from candor.report.calibration import calibration_curve
from candor.report.config import ReportConfig
from candor.report.gains import gain_table
from candor.report.html import document, plain, section
from candor.report.look import Palette
from candor.report.policy import policy_pictures
from candor.report.raised import adapted_table
from candor.report.tables import Table, markdown, summary_table
from candor.report.verdicts import read_thresholds

_FROM_EVALUATE = ("results.parquet", "predictions.parquet", "operating.parquet", "thresholds.json")


def report(config: ReportConfig, inputs: Inputs, out: Output) -> Result:
    """Write index.html (one file, no network), table.json and table.md.

    Inputs: ``evaluate``; optional ``curve`` (curve.parquet), ``history.NAME`` (metrics.parquet and policy.parquet, where the stage left any), ``ingest``
    (catalog.parquet) and ``audit`` (findings.json: errors that were allowed are printed below the table).

    Raises:
        SourceMissing: evaluate left no results.
        AuditFailed: a threshold that does not come from validation.
    """
    evaluated = inputs.path("evaluate")
    for name in _FROM_EVALUATE:
        if not (evaluated / name).is_file():
            raise SourceMissing(f"the evaluate artifact has no {name}", hint="Run the evaluate stage again.")
    results = pl.read_parquet(evaluated / "results.parquet")
    findings = read_findings(inputs.paths.get("audit"))
    heading = config.title or "Detectors by scenario"
    table = summary_table(results, heading=heading, metrics=config.metrics)
    printed = summary_table(results, heading=heading, detectors=config.headline, metrics=config.metrics)
    remarks = _remarks(evaluated)
    for each in (table, printed):
        each["notes"] += [*remarks, *allowed_notes(findings)]
    out.progress(1, 3, "drawing")
    page = _page(config, inputs, results, table, findings)
    (out.path / "index.html").write_text(page, encoding="utf-8")
    (out.path / "table.json").write_text(
        json.dumps(printed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (out.path / "table.md").write_text(markdown(table), encoding="utf-8")
    out.progress(3, 3, "")
    return Result({"page": "index.html", "bytes": len(page.encode()), "rows": len(table["rows"])})


def _page(
    config: ReportConfig, inputs: Inputs, results: pl.DataFrame, table: Table, findings: list[dict[str, Any]]
) -> str:
    evaluated = inputs.path("evaluate")
    colours = Palette(results.select("detector", "variant").unique().iter_rows())
    predictions = pl.read_parquet(evaluated / "predictions.parquet")
    thresholds = read_thresholds(evaluated / "thresholds.json")
    history = _history(inputs)
    catalog = inputs.paths.get("ingest")
    parts = [
        ("summary-section", "Summary", section("summary-section", "Summary", _SUMMARY, plain(table))),
        ("scenarios", "By scenario", sections.scenario_bars(results, colours)),
        ("scores", "Scores", sections.score_distributions(predictions, bins=config.bins)),
        ("windows", "Windows", sections.window_table(results)),
        ("events", "Events", sections.event_table(results, _remarks(evaluated))),
        (
            "operating",
            "Operating curves",
            sections.operating_curves(pl.read_parquet(evaluated / "operating.parquet"), colours),
        ),
    ]
    if (evaluated / "effects.parquet").is_file():
        gains = pl.read_parquet(evaluated / "effects.parquet")
        if len(gains):
            parts.append(("gains", "Variants compared", gain_table(gains)))
    if "curve" in inputs.paths:
        found = pl.read_parquet(inputs.path("curve") / "curve.parquet")
        parts.append(("calibration", "Calibration", calibration_curve(found, colours)))
    if history:
        parts.append(("training", "Training", sections.training_curves(history)))
    policies = _policies(inputs)
    if policies:
        parts.append(("policy", "Fusion policy", policy_pictures(policies)))
    parts.append(("thresholds", "Thresholds", sections.threshold_table(thresholds)))
    if (evaluated / "adapted.parquet").is_file():
        moved = pl.read_parquet(evaluated / "adapted.parquet")
        if len(moved):
            parts.append(("adapted", "Adapted thresholds", adapted_table(moved)))
    if catalog is not None:
        table_of = sections.capture_table(pl.read_parquet(catalog / "catalog.parquet"))
        parts.append(("captures", "Captures", table_of))
    return document(table["title"], _head(findings), parts, _footer(inputs))


_SUMMARY = "One row per detector and scenario; specialists, baselines and controls stand below the models they should lose to."


def _head(findings: list[dict[str, Any]]) -> str:
    """Allowed errors and warnings, above everything else."""
    shown = []
    for f in sorted(findings, key=lambda f: f["severity"] != "error"):
        if f["severity"] in ("error", "warning"):
            text = allowed(f) if f["severity"] == "error" else f"Audit, {f['id']}: {f['message']}"
            shown.append(f'<div class="finding {f["severity"]}" role="note">{escape(text)}</div>')
    return "".join(shown)


def _remarks(evaluated: Path) -> list[str]:
    """What must be said of the truth that results rest on; evaluations of earlier versions said nothing."""
    path = evaluated / "remarks.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _history(inputs: Inputs) -> dict[str, pl.DataFrame]:
    """Logged metrics by lane, of stages that logged any."""
    found = {}
    for name, folder in inputs.group("history").items():
        if (folder / "metrics.parquet").is_file():
            found[name] = pl.read_parquet(
                folder / "metrics.parquet", columns=["kind", "step", "metric", "value"]
            )
    return found


def _policies(inputs: Inputs) -> dict[str, pl.DataFrame]:
    """What fusion policies do, by lane, of stages that left a picture."""
    return {
        name.partition(".")[2]: pl.read_parquet(folder / "policy.parquet")
        for name, folder in inputs.group("history").items()
        if (folder / "policy.parquet").is_file()
    }


def _footer(inputs: Inputs) -> str:
    """Where the page comes from: keys, code version and config of the evaluation and its inputs."""
    entries: list[tuple[str, str]] = []
    config = ""
    record = _record(inputs.path("evaluate"))
    if record:
        entries = [
            ("evaluation", str(record["key"])),
            ("config digest", digest(record["science"])),
            ("code version", str(record["code_version"])),
            ("evaluated", str(record["created"])),
        ]
        entries += [(f"input {name}", str(key)) for name, key in record["inputs"].items()]
        config = json.dumps(record["science"], indent=1)
    else:
        entries.append(("evaluation", "no record beside it: it was not published by a run"))
    terms = "".join(f"<dt>{escape(k)}</dt><dd><code>{escape(v)}</code></dd>" for k, v in entries[:4])
    more = "".join(f"<dt>{escape(k)}</dt><dd><code>{escape(v)}</code></dd>" for k, v in entries[4:])
    details = f"<details><summary>Inputs and config of the evaluation</summary><dl>{more}</dl><pre>{escape(config)}</pre></details>"
    return f"<dl>{terms}</dl>{details if config else ''}"


def _record(folder: Path) -> dict[str, Any] | None:
    path = folder / "record.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None
