"""Fidelity of explanations over windows: what dropping the named parts costs against random ones, and what could be lost at all.

An interval is Student's over the windows. Windows of one capture are alike, so it is of these windows, not of other captures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from candor.ids.explanation.detectors import UNITS
from candor.learn.effects import t_quantile

#: Title of what is named → (column of the loss, what random drops it is compared with, what all of them cost).
_NAMED: Final = {
    "edges": ("named_edges", "random_edges", "all_edges"),
    "edges of the masks": ("masked_edges", "random_edges", "all_edges"),
    "nodes": ("named_nodes", "random_nodes", "all_features"),
    "features": ("named_features", "random_features", "all_features"),
}
_CONFIDENCE: Final = 0.95


def fidelity(windows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By who answers, and by what is named: means over its windows, and the difference with its interval.

    ``all_share``: what dropping all of them moves the decision by, whichever way, of how far it went. Where that is next to
    nothing, no edge (or feature) can be named well.
    """
    found: dict[str, Any] = {}
    for answers, unit in UNITS.items():
        own = [w for w in windows if w["answers"] == answers]
        if not own:
            continue
        found[answers] = {"unit": unit, "windows": len(own), "of": {}}
        for name, columns in _NAMED.items():
            if name == "edges of the masks" and answers == "temporal":  # It has none.
                continue
            title = name.replace("masks", "errors") if answers == "autoencoder" else name
            named, chance, every = (np.array([w[f"{c}_lost"] for w in own]) for c in columns)
            margin = np.array([w["margin"] for w in own])
            found[answers]["of"][title] = _compared(named, chance) | {
                "all_lost": _rounded(every.mean()),
                "all_share": _rounded(np.abs(every).sum() / max(np.abs(margin).sum(), 1e-9)),
            }
    return found


def _compared(named: np.ndarray, chance: np.ndarray) -> dict[str, float | None]:
    more, low, high = named - chance, None, None
    if len(more) > 1:
        half = t_quantile(0.5 + _CONFIDENCE / 2, len(more) - 1) * more.std(ddof=1) / np.sqrt(len(more))
        low, high = _rounded(more.mean() - half), _rounded(more.mean() + half)
    return {
        "named_lost": _rounded(named.mean()),
        "random_lost": _rounded(chance.mean()),
        "difference": _rounded(more.mean()),
        "low": low,
        "high": high,
        "share_hurting_more": _rounded((more > 0).mean()),
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)
