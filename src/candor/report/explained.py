"""The page of explained windows: what kind each was, which features drove it, and its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from candor.report.html import document, section
from candor.report.numbers import share, threshold

_HEADS = {
    "false alarm": ("false", "False alarms", "Benign windows that were flagged, the most certain first."),
    "missed": (
        "missed",
        "Missed attacks",
        "Attack windows that were not flagged, those of wholly missed events first.",
    ),
    "true alarm": (
        "true",
        "True alarms",
        "Attack windows that were flagged, the most certain of every family first.",
    ),
    "quiet": ("quiet", "Quiet windows", "Benign windows that were not flagged."),
}


@dataclass(frozen=True)
class Explained:
    """One window: its row of windows.parquet, its driving features, the picture and the picture's file."""

    window: dict[str, Any]
    drivers: Sequence[dict[str, Any]]
    picture: str
    file: str


def explained_page(title: str, shown: Sequence[Explained], fidelity: dict[str, Any]) -> str:
    """The whole page."""
    parts = []
    for kind, (anchor, heading, lead) in _HEADS.items():
        cards = [_card(e) for e in shown if e.window["kind"] == kind]
        if cards:
            parts.append(
                (
                    anchor,
                    heading,
                    section(anchor, heading, lead, f'<div class="grid mid">{"".join(cards)}</div>'),
                )
            )
    parts.append(("fidelity", "Fidelity", section("fidelity", "Fidelity", _FIDELITY, _fidelity(fidelity))))
    return document(
        title, "", parts, "GNNExplainer masks of the classifier; deviations in benign standard deviations."
    )


_FIDELITY = (
    "If an explanation names what mattered, the decision suffers more without it than without as much drawn at random. "
    "Losses are log odds of the class that was decided for, mean over the windows above."
)


def _fidelity(told: dict[str, Any]) -> str:
    lines = []
    for what, found in told["fidelity"].items():
        lines.append(
            f"<li>{what}: {found['named_lost']:+.3f} without the named ones, {found['random_lost']:+.3f} without random ones; "
            f"worse without the named ones in {share(found['share_hurting_more'], 2)} of the windows.</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def driver_text(driver: dict[str, Any]) -> str:
    """``early_share of 0x130: +6.2 sd``."""
    of = f" of {driver['name']}" if driver["name"] else " of the window"
    signal = f" ({driver['signal']})" if driver.get("signal") else ""
    return f"{driver['feature']}{signal}{of}: {driver['deviation_sd']:+.1f} sd"


def summary_line(window: dict[str, Any], drivers: Sequence[dict[str, Any]]) -> str:
    """One sentence on a window, for a page or a terminal."""
    what = {"false alarm": "False alarm", "missed": "Missed", "true alarm": "Alarm", "quiet": "Quiet"}[
        window["kind"]
    ]
    family = f" ({window['attack']})" if window["attack"] else ""
    leaning = "attack" if window["decided"] else "benign"
    driven = "; ".join(driver_text(d) for d in drivers) or "no feature deviates from the benign mean"
    return (
        f"{what}{family}: score {threshold(window['score'])} at threshold {threshold(window['threshold'])}. "
        f"The classifier leans to {leaning} ({share(window['gat_probability'])} attack); driven by {driven}."
    )


def _card(e: Explained) -> str:
    w = e.window
    weight = (
        f" Fusion weight of the classifier: {share(w['fusion_weight'], 2)}."
        if w["fusion_weight"] is not None
        else ""
    )
    head = f"{w['capture']}:{w['window']}, {w['t0']:.2f} to {w['t1']:.2f} s"
    text = f"{summary_line(w, e.drivers)}{weight}"
    return (
        f'<div class="card"><h3>{escape(head)}</h3>{e.picture}<p>{escape(text)}</p>'
        f'<p><a href="{escape(e.file, quote=True)}">picture alone</a></p></div>'
    )
