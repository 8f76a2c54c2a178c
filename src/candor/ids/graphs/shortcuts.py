"""What gives an attack frame away without any model: its time step, its place in the file, its ID or payload alone.

A shortcut's AUROC is that of a detector which sees nothing else. A key (an ID, a payload, an address) is scored with
the share of attacks among frames of the same key in the *other* half of the capture (alternating blocks), so a key that
occurs once tells nothing of itself.

Legend: n frames of one capture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import FrameArrays
from candor.ids.config import AuditLimits
from candor.ids.graphs.findings import Finding, Severity
from candor.ids.graphs.vocabulary import id_key
from candor.learn.metrics import ranking_metrics

#: Frames of one fold in a row: short, so that a brief attack falls into both.
_BLOCK_FRAMES = 200

Labels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shortcut:
    """A view of frames that must not tell attacks from benign traffic.

    Attributes:
        score: arrays of the capture and labels → one score per frame.
        keyed: judges frames one by one, so that frames of two captures can be compared.
        severity: of an AUROC above the limit. An artefact of how the file was made is an error; what may be the
            nature of the attack (flooding has an ID of its own) is a warning: a figure to compare a model with.
    """

    name: str
    what: str
    severity: Severity
    score: Callable[[FrameArrays, Labels], Scores]
    keyed: bool = False


def keyed_scores(key_n: npt.NDArray[np.unsignedinteger[Any]], y_n: Labels) -> Scores:
    """Attack share of each frame's key, from the other fold; an unseen key gets that of keys seen once there.

    This is the seam for other entities: flows give hosts as keys.
    """
    fold = (np.arange(len(y_n)) // _BLOCK_FRAMES) % 2
    known, code = np.unique(key_n, return_inverse=True)
    score = np.zeros(len(y_n))
    for side in (0, 1):
        fit = fold != side
        if not fit.any():
            continue
        prior = float(y_n[fit].mean())
        seen = np.bincount(code[fit], minlength=len(known))
        attacks = np.bincount(code[fit], weights=y_n[fit], minlength=len(known))
        once = seen == 1
        unseen = (float(attacks[once].sum()) + prior) / (int(once.sum()) + 1)
        rate = np.where(seen > 0, (attacks + prior) / (seen + 1), unseen)
        score[~fit] = rate[code[~fit]]
    return score


def _delta_t(frames: FrameArrays, y_n: Labels) -> Scores:
    return (np.diff(frames.t, prepend=-np.inf) <= 0).astype(np.float64)


def _id(frames: FrameArrays, y_n: Labels) -> Scores:
    return keyed_scores(id_key(frames.id, frames.flags), y_n)


def _payload(frames: FrameArrays, y_n: Labels) -> Scores:
    return keyed_scores(np.ascontiguousarray(frames.data).view("<u8").ravel(), y_n)


def _row_order(frames: FrameArrays, y_n: Labels) -> Scores:
    return np.arange(len(y_n), dtype=float)


FRAME_SHORTCUTS: Final = (
    Shortcut("delta_t", "a time step of zero or less", "error", _delta_t),
    Shortcut("row_order", "the place in the file", "warning", _row_order),
    Shortcut("id", "the ID", "warning", _id, keyed=True),
    Shortcut("payload", "the payload", "warning", _payload, keyed=True),
)


@dataclass(frozen=True)
class Measured:
    """AUROC of one shortcut on one capture; None where the capture has one class only."""

    capture: str
    shortcut: str
    auroc: float | None
    severity: Severity


def measure(
    capture: str,
    frames: FrameArrays,
    limits: AuditLimits,
    shortcuts: tuple[Shortcut, ...] = FRAME_SHORTCUTS,
    *,
    beside: FrameArrays | None = None,
) -> list[Measured]:
    """Every shortcut on the frames of one capture.

    A capture of attacks only is judged by keys alone, ``beside`` an attack-free capture of its vehicle.
    """
    whole = bool(frames.y.all())
    if not frames.y.any() or (whole and beside is None):
        return [Measured(capture, s.name, None, "info") for s in shortcuts]
    judged = _joined(beside, frames) if whole and beside is not None else frames
    return [_measured(capture, s, judged, limits, judge=s.keyed or not whole) for s in shortcuts]


def _measured(
    capture: str, shortcut: Shortcut, frames: FrameArrays, limits: AuditLimits, *, judge: bool
) -> Measured:
    if not judge:
        return Measured(capture, shortcut.name, None, "info")
    auroc = float(ranking_metrics(frames.y, shortcut.score(frames, frames.y))["auroc"].item())
    # Attacks at the very start are as much of a giveaway as at the very end.
    auroc = max(auroc, 1 - auroc) if shortcut.name == "row_order" else auroc
    high = auroc >= limits.max_shortcut_auroc
    return Measured(capture, shortcut.name, auroc, shortcut.severity if high else "info")


def _joined(first: FrameArrays, second: FrameArrays) -> FrameArrays:
    arrays: dict[str, Any] = {
        f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
        for f in fields(first)
        if f.name != "attack_names"
    }
    return replace(second, **arrays)


def findings(
    measured: list[Measured], limits: AuditLimits, shortcuts: tuple[Shortcut, ...] = FRAME_SHORTCUTS
) -> Iterator[Finding]:
    """One finding per shortcut that is too good on some capture."""
    for shortcut in shortcuts:
        own = {m.capture: m.auroc for m in measured if m.shortcut == shortcut.name and m.auroc is not None}
        high = {c: a for c, a in own.items() if a >= limits.max_shortcut_auroc}
        if high:
            message = f"{shortcut.what} alone tells attack frames from benign ones in {_listed(high)}"
            evidence = {"auroc": own, "from": limits.max_shortcut_auroc}
            yield Finding(f"shortcut_{shortcut.name}", shortcut.severity, message, evidence)


def _listed(auroc: Mapping[str, float]) -> str:
    worst = sorted(auroc, key=lambda c: -auroc[c])
    shown = ", ".join(f"{c} (AUROC {auroc[c]:.3f})" for c in worst[:4])
    return shown + (f" and {len(worst) - 4} more" if len(worst) > 4 else "")
