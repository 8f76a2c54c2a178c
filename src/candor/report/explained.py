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
        title,
        "",
        parts,
        "GNNExplainer masks of the classifier (what must go for its decision to fall), reconstruction errors of the autoencoder, gradients of the temporal detector; "
        "deviations in benign standard deviations.",
    )


_FIDELITY = (
    "If an explanation names what mattered, the decision suffers more without it than without as much drawn at random. "
    "Losses of the classifier and of the temporal detector are log odds of the class that was decided for, those of the "
    "autoencoder are of its anomaly score; means over the windows above that each of them answers for, the difference with "
    "its 95 % interval over these windows. What goes without any of them at all is what there was to lose."
)
#: A share of the decision below which nothing of a kind can be named well.
_HARDLY = 0.05


def _fidelity(told: dict[str, Any]) -> str:
    lines = [
        f"<li>{escape(line)}</li>" for answers, own in told.items() for line in fidelity_lines(answers, own)
    ]
    return f"<ul>{''.join(lines)}</ul>"


def fidelity_lines(answers: str, own: dict[str, Any]) -> list[str]:
    """One sentence for each kind of what is named, for a page or a terminal. ``answers``: who."""
    return [_fidelity_line(answers, what, found, own) for what, found in own["of"].items()]


def _fidelity_line(answers: str, what: str, found: dict[str, Any], own: dict[str, Any]) -> str:
    spread = "" if found["low"] is None else f" [{found['low']:+.2f}, {found['high']:+.2f}]"
    kind = "edge" if "edges" in what else "feature"
    worse = round(found["share_hurting_more"] * own["windows"])
    hardly = f": it hardly looks at {kind}s" if found["all_share"] < _HARDLY else ""
    return (
        f"{answers}, {what}: {found['named_lost']:+.2f} {own['unit']} without the named ones, {found['random_lost']:+.2f} "
        f"without random ones, difference {found['difference']:+.2f}{spread}; worse without the named ones in "
        f"{worse} of {own['windows']} windows. Without any {kind} the decision moves by {100 * found['all_share']:.0f} % of what it "
        f"was{hardly}."
    )


def driver_text(driver: dict[str, Any]) -> str:
    """``early_share of 0x130: +6.2 sd``."""
    of = f" of {driver['name']}" if driver["name"] else " of the window"
    signal = f" ({driver['signal']})" if driver.get("signal") else ""
    expected = f", {driver['expected_sd']:+.1f} expected" if driver.get("expected_sd") is not None else ""
    if (
        driver["deviation_sd"] is None
    ):  # A detector of frames names the ID and the view, and no feature of a node.
        return f"{driver['feature']}{signal}{of}"
    return f"{driver['feature']}{signal}{of}: {driver['deviation_sd']:+.1f} sd{expected}"


def weight_text(telling: Sequence[tuple[str, float]]) -> str:
    """What set a fusion weight: fields of the state, each with the weight there would be without it."""
    if not telling:
        return "nothing in the state"
    return ", ".join(f"{field} ({share(weight, 2)} without it)" for field, weight in telling)


def summary_line(window: dict[str, Any], drivers: Sequence[dict[str, Any]]) -> str:
    """One sentence on a window, for a page or a terminal."""
    what = {"false alarm": "False alarm", "missed": "Missed", "true alarm": "Alarm", "quiet": "Quiet"}[
        window["kind"]
    ]
    family = f" ({window['attack']})" if window["attack"] else ""
    leaning = "attack" if window["decided"] else "benign"
    driven = "; ".join(driver_text(d) for d in drivers) or "no feature deviates from the benign mean"
    begin = (
        f"{what}{family}: score {threshold(window['score'])} at threshold {threshold(window['threshold'])}."
    )
    # The autoencoder's errors say attack or nothing: of a window it let pass they are the little that it saw.
    verb = "most of its error" if window["answers"] == "autoencoder" else "driven by"
    detectors = ("temporal", "payload", "frame_dynamics")
    who = window["answers"] + (" detector" if window["answers"] in detectors else "")
    return f"{begin}{_fused(window)} The {who} leans to {leaning}; {verb}: {driven}.{_sequence(window)}"


_MEMBERS = {"classifier": "gat_part", "autoencoder": "vgae_part"}


def _fused(window: dict[str, Any]) -> str:
    """How a fused score came about, and who decided; "" for another detector."""
    weight = window["fusion_weight"]
    if weight is None:
        return ""
    return (
        f" Fused: {share(weight, 2)} × the classifier's {share(window['gat_probability'])} + {share(1 - weight, 2)} × the "
        f"autoencoder's {share(window['vgae_probability'])}; the {window['answers']} decided "
        f"({window[_MEMBERS[window['answers']]]:+.2f} of {window['score'] - window['threshold']:+.2f} from the threshold). "
        f"The weight was set by {window['weight_set_by']}."
    )


def _sequence(window: dict[str, Any]) -> str:
    """How attention weighed the windows up to this one; "" for another detector."""
    shares = window["window_share"]
    if shares is None:
        return ""
    return f" Attention over the windows up to this one: {', '.join(share(s, 2) for s in shares)}."


def _card(e: Explained) -> str:
    w = e.window
    head = f"{w['capture']}:{w['window']}, {w['t0']:.2f} to {w['t1']:.2f} s"
    text = summary_line(w, e.drivers)
    return (
        f'<div class="card"><h3>{escape(head)}</h3>{e.picture}<p>{escape(text)}</p>'
        f'<p><a href="{escape(e.file, quote=True)}">picture alone</a></p></div>'
    )
