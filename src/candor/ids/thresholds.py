"""Thresholds, from validation alone. A window is flagged when its score is at or above the threshold.

Legend: n validation windows, U distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.errors import DataError
from candor.ids.config import EvaluationConfig

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold and how it came about. ``f1`` (None without attacks) and ``fpr`` are those of validation."""

    value: float
    rule: str
    windows: int
    attack_windows: int
    f1: float | None
    fpr: float
    reason: str | None = None


def choose(
    y: ArrayLike, score: ArrayLike, config: EvaluationConfig, *, place: str | None = None
) -> Threshold:
    """Choose by ``config.threshold``; ``max_f1`` falls back to ``max_fpr``, with a reason, where F1 cannot choose.

    Args:
        y: [n], 0 or 1. score: [n], finite.
        place: the detector, for the error.

    Raises:
        DataError: no validation windows, or none of them benign.
    """
    truth, s = np.asarray(y, bool), np.asarray(score, np.float64)
    if not len(s):
        raise DataError(
            "no validation windows, so no threshold", place=place, hint="Score the val split too."
        )
    if truth.all():
        raise DataError(
            "every validation window is an attack, so no threshold", place=place, hint="Add benign traffic."
        )
    rule, value, reason = config.threshold, None, None
    if rule == "max_f1":
        value, reason = max_f1(truth, s)
    if value is None:
        rule, value = "max_fpr", max_fpr(truth, s, config.fpr)
    flagged = s >= value
    found = int(np.sum(flagged & truth))
    return Threshold(
        value=value,
        rule=rule,
        windows=len(s),
        attack_windows=int(truth.sum()),
        f1=2 * found / float(flagged.sum() + truth.sum()) if truth.any() else None,
        fpr=float(flagged[~truth].mean()),
        reason=reason,
    )


def max_f1(y: NDArray[np.bool_], score: Floats) -> tuple[float | None, str | None]:
    """Middle of the widest score interval whose F1 is the best, give or take chance; or (None, reason).

    Every threshold between two neighbouring distinct scores flags the same windows. Taken as good as the best are those
    with at most one standard error more wrong windows (the root of the best one's, at least 1), after Breiman et al.,
    Classification and Regression Trees (1984), 3.4.3, and at most one in a hundred attack windows: one odd window of validation must not move the threshold to the
    edge of the benign scores. Neighbours among them join; of several intervals the widest counts, then the highest: it
    leaves most room to both sides. Flagging everything is not a threshold, and neither is what errs as often, give or take
    a standard error: where nothing beats it, the scores do not separate.
    """
    if not y.any():
        return None, "validation holds no attack windows"
    values_U, inverse = np.unique(score, return_inverse=True)
    if len(values_U) == 1:
        return None, "all validation scores are equal"
    # At index i the windows with a score of at least values_U[i] are flagged.
    tp_U = np.cumsum(np.bincount(inverse, weights=y)[::-1])[::-1]
    flagged_U = np.cumsum(np.bincount(inverse)[::-1])[::-1]
    f1_U = 2 * tp_U / (flagged_U + y.sum())
    best = int(np.argmax(f1_U[1:])) + 1
    if f1_U[best] < f1_U[0]:
        return None, "no validation threshold has a better F1 than flagging every window"
    wrong_U = flagged_U + y.sum() - 2 * tp_U
    # Flagging all but three of a thousand benign windows has a better F1 than flagging all.
    if wrong_U[best] + np.sqrt(wrong_U[best]) > wrong_U[0]:
        return None, "no validation threshold errs less than flagging every window, beyond chance"
    # A hundredth of the attacks at most: of a few windows each is evidence.
    error = min(max(1.0, float(np.sqrt(wrong_U[best]))), float(y.sum()) / 100)
    # Among wrong windows misses cost F1 most.
    least = 2 * (tp_U[best] - error) / (2 * (tp_U[best] - error) + wrong_U[best] + error)
    good_U = (wrong_U <= wrong_U[best] + error) & (f1_U >= max(least, f1_U[0]))
    hits = np.flatnonzero(good_U[1:]) + 1
    runs = np.split(hits, np.flatnonzero(np.diff(hits) > 1) + 1)
    first, last = max(
        ((run[0], run[-1]) for run in runs), key=lambda r: (values_U[r[1]] - values_U[r[0] - 1], r[1])
    )
    low, high = float(values_U[first - 1]), float(values_U[last])
    middle = low + (high - low) / 2
    # Between neighbouring floats the middle rounds down onto the score that must stay unflagged.
    return (middle if middle > low else high), None


def max_fpr(y: NDArray[np.bool_], score: Floats, fpr: float) -> float:
    """Lowest threshold that flags at most a share ``fpr`` of the benign windows."""
    benign = np.sort(score[~y])[::-1]
    allowed = int(np.floor(fpr * len(benign) + 1e-9))
    return float(score.min()) if allowed >= len(benign) else float(np.nextafter(benign[allowed], np.inf))
