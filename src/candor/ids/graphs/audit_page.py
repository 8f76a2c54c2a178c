"""The audit as one self-contained page: findings, what they rest on, shortcuts, shared recordings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import polars as pl

from candor.report.html import Cell, Row, count, document, section, sortable, word

#: Bits of an identifier; the next one says whether it is of 29 bits.
_ID = 0x1FFF_FFFF
Findings = Sequence[Mapping[str, Any]]


def page(content: Mapping[str, Any], catalog: pl.DataFrame) -> str:
    """HTML of a ``findings.json``. Telltales may have a "message" and a "signal": their names in a DBC."""
    findings, allowed = content["findings"], content["allowed"]
    dataset = str(catalog["dataset"][0]) if len(catalog) else ""
    parts = [
        ("findings", "Findings", section("findings", "Findings", _LEAD, _finding_table(findings, allowed))),
        ("shortcuts", "Shortcuts", _shortcuts(content["shortcuts"], _LEADS["shared_runs" in content])),
        *_recordings(content, catalog),
        ("evidence", "Evidence", section("evidence", "Evidence", _EVIDENCE, _evidence(findings))),
    ]
    footer = (
        f"{len(catalog)} captures of {escape(dataset)}. The same content as findings.json beside this page."
    )
    return document(f"Audit of {dataset}", _head(findings, allowed), parts, footer)


_LEAD = (
    "An error stops a run unless --allow names it; it is then printed under every table made from the run. "
    "A warning bounds what a figure means. An info is worth knowing."
)
_EVIDENCE = "Names and numbers behind each finding."


def _head(findings: Findings, allowed: Sequence[str]) -> str:
    stopping = [f for f in findings if f["severity"] == "error" and f["id"] not in allowed]
    if stopping:
        text = f"Stopped by {', '.join(dict.fromkeys(f['id'] for f in stopping))}."
        return f'<div class="finding error" role="note">{escape(text)}</div>'
    errors = [f["id"] for f in findings if f["severity"] == "error"]
    text = f"Passed; allowed by name: {', '.join(dict.fromkeys(errors))}." if errors else "Passed."
    return f"<p>{escape(text)}</p>"


def _finding_table(findings: Findings, allowed: Sequence[str]) -> str:
    heads = [("severity", "left"), ("finding", "left"), ("allowed", "left"), ("what", "left")]
    order = {"error": "0", "warning": "1", "info": "2"}
    rows = []
    for f in findings:
        let = "yes" if f["id"] in allowed else ""
        cells = [
            Cell(escape(f["severity"]), order[f["severity"]]),
            word(f["id"]),
            word(let),
            _sentence(f["message"]),
        ]
        rows.append(Row(cells))
    return sortable("findings-table", heads, rows) if rows else "<p>Nothing was found.</p>"


def _sentence(text: str) -> Cell:
    """Cells of a table do not wrap; a sentence must."""
    return Cell(f'<div style="white-space:normal;min-width:28rem">{escape(text)}</div>', text)


_REST = "A dash: one class only. A model is worth its figure as far as it exceeds these."
#: By whether the data set is one of a bus.
_LEADS = {
    True: (
        "AUROC, over the frames of each test capture, of a detector that sees one thing only: the time step (zero or "
        "negative), the place in the file, the ID, or the payload. Bold: above the limit. (A capture of attacks only "
        f"is judged by key beside an attack-free one of its vehicle.) {_REST}"
    ),
    False: (
        "AUROC, over the flows of each test capture, of the share of attacks that one column's value had in training: "
        "an address, a port, a column withheld from models, or all measures of a flow together; and of the time step "
        f"(zero) and the place in order of time. Bold: above the limit. {_REST}"
    ),
}


def _recordings(content: Mapping[str, Any], catalog: pl.DataFrame) -> list[tuple[str, str, str]]:
    """What captures of a bus have in common; flows are compared one by one, and a finding says so."""
    if "shared_runs" not in content:
        return []
    return [
        ("telltales", "What tells", _telltales(content["telltales"])),
        ("shared", "Shared recordings", _shared(content["shared_runs"], catalog)),
    ]


def _telltales(found: Sequence[Mapping[str, Any]]) -> str:
    named = any("signal" in t for t in found)
    heads = [("capture", "left"), ("ID", "left"), *([("message", "left")] if named else [])]
    heads += [("attack frames", "right"), ("benign frames", "right"), ("told by", "left"), ("AUROC", "right")]
    rows = []
    for t in found:
        auroc = Cell("–") if t["auroc"] is None else Cell(f"{t['auroc']:.3f}", repr(t["auroc"]))
        key = f"0x{t['id'] & _ID:X}"
        message = [] if not named else [word(t["message"] if t["message"] != key else "–")]
        counts = (count(t["attack_frames"]), count(t["benign_frames"]))
        rows.append(Row([word(t["capture"]), word(key), *message, *counts, _told_by(t, key), auroc]))
    lead = (
        "The IDs with most attack frames of each test capture, and the byte (or signals of a DBC in it) whose value "
        "alone tells them best from the benign frames of the same ID. The ID itself tells where it has attack frames "
        "only." + ("" if named else " `candor audit --dbc FILE` names messages and signals.")
    )
    body = sortable("telltales-table", heads, rows) if rows else "<p>No test capture has an attack frame.</p>"
    return section("telltales", "What tells", lead, body)


def _told_by(telltale: Mapping[str, Any], key: str) -> Cell:
    if telltale["byte"] is None:
        return word("the ID itself")
    return _names(telltale.get("signal") or f"{key}[{telltale['byte']}:{telltale['byte'] + 1}]")


def _names(text: str) -> Cell:
    """Names of signals: a few, but sometimes many flags of one byte."""
    return Cell(f'<div style="white-space:normal;min-width:10rem">{escape(text)}</div>', text)


def _shortcuts(measured: Sequence[Mapping[str, Any]], lead: str) -> str:
    names = list(dict.fromkeys(m["shortcut"] for m in measured))
    by_capture: dict[str, dict[str, Mapping[str, Any]]] = {}
    for m in measured:
        by_capture.setdefault(m["capture"], {})[m["shortcut"]] = m
    heads = [("capture", "left"), *((name.replace("_", " "), "right") for name in names)]
    rows = [Row([word(c), *(_auroc(own[n]) for n in names)]) for c, own in by_capture.items()]
    return section("shortcuts", "Shortcuts", lead, sortable("shortcuts-table", heads, rows))


def _auroc(measured: Mapping[str, Any]) -> Cell:
    value = measured["auroc"]
    if value is None:
        return Cell("–")
    text = f"{value:.3f}"
    return Cell(text if measured["severity"] == "info" else f"<b>{text}</b>", repr(value))


def _shared(shared: Mapping[str, Any], catalog: pl.DataFrame) -> str:
    splits = dict(catalog.select("capture", "split").iter_rows())
    heads = [("capture", "left"), ("split", "left"), ("capture", "left"), ("split", "left")]
    heads += [("of the first in the second", "right"), ("of the second in the first", "right")]
    rows = [
        Row(
            [
                *(word(text) for name in (p["a"], p["b"]) for text in (name, splits.get(name, ""))),
                *(Cell(f"{p[k]:.1%}", repr(p[k])) for k in ("share_a", "share_b")),
            ]
        )
        for p in shared["pairs"]
    ]
    lead = (
        f"Runs of {shared['run_frames']} consecutive benign frames, by ID, length and payload, that two captures have "
        "in common. Identical captures are findings of their own and left out here."
    )
    body = sortable("shared-table", heads, rows) if rows else "<p>No two captures share a run.</p>"
    return section("shared", "Shared recordings", lead, body)


def _evidence(findings: Findings) -> str:
    return "".join(
        f"<details><summary>{escape(f['id'])} ({len(f['evidence'])})</summary>"
        f"<pre>{escape(json.dumps(f['evidence'], indent=1, default=str))}</pre></details>"
        for f in findings
        if f["evidence"]
    )
