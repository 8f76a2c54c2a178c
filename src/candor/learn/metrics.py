"""Detection metrics that know when they are undefined. NumPy only: a login node may load this.

Every metric is an `Estimate`: a value with its interval, or no value and the reason. A metric is never 0 or NaN
because its denominator was; a scenario without attacks has no recall, and says so.

Legend: n windows, B bootstrap replicates, K blocks, G groups of equal scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from candor.errors import ConfigError
from candor.learn.bootstrap import Resamples, interval

Floats = NDArray[np.float64]

#: Names in the order of every table.
METRICS = ("f1", "macro_f1", "precision", "recall", "fpr", "mcc", "auroc", "auc_pr")


def check_metrics(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is none of `METRICS`."""
    wrong = next((name for name in names if name not in METRICS), None)
    if wrong:
        raise ConfigError(f"no metric '{wrong}'", place="--metric", hint=f"Metrics: {', '.join(METRICS)}.")


#: What the interval of a flawless, or blind, detector is from.
BINOMIAL = "binomial"

NO_ATTACK = "no attack windows"
NO_BENIGN = "no benign windows"
NO_WINDOW = "no windows"
NONE_FLAGGED = "no window was flagged"
ONE_PREDICTION = "every window got the same prediction"


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval; ``reason`` says why the value, or only the interval, is missing.

    ``how``: what the interval is from, "" without one (lake METRICS lists the words).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    how: str = ""


@dataclass(frozen=True)
class Confusion:
    """Counts of windows; integers for a sample, arrays of shape [B] for replicates."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def confusion(y: ArrayLike, prediction: ArrayLike) -> Confusion:
    """Count windows by truth and prediction. ``y`` and ``prediction``: [n], 0 or 1."""
    truth, flagged = np.asarray(y, bool), np.asarray(prediction, bool)
    return Confusion(
        tp=int(np.sum(truth & flagged)),
        fp=int(np.sum(~truth & flagged)),
        fn=int(np.sum(truth & ~flagged)),
        tn=int(np.sum(~truth & ~flagged)),
    )


def threshold_metrics(c: Confusion) -> dict[str, Any]:
    """F1 of attacks, its mean with that of benign windows (macro), precision, recall, FPR and MCC of the counts; NaN where a denominator is 0 (`undefined` gives the reason).

    MCC: Matthews 1975, with the product of the four margins in floating point (it overflows int64 from 65 k windows).
    """
    tp, fp, fn, tn = (np.asarray(v, np.float64) for v in (c.tp, c.fp, c.fn, c.tn))
    margins = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "f1": 2 * tp / (2 * tp + fp + fn),
            "macro_f1": tp / (2 * tp + fp + fn) + tn / (2 * tn + fp + fn),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "fpr": fp / (fp + tn),
            "mcc": np.clip((tp * tn - fp * fn) / margins, -1.0, 1.0),
        }


def ranking_metrics(y: ArrayLike, score: ArrayLike, weight: NDArray[Any] | None = None) -> dict[str, Floats]:
    """AUROC (ties count one half) and AUC-PR (average precision: precision summed over steps of recall).

    Args:
        y: [n], 0 or 1, both present. score: [n], higher is more attack-like.
        weight: [B, n] how often each window was drawn; default one replicate of ones.

    Returns:
        Arrays of shape [B]. Average precision does not interpolate between points, as linear interpolation is
        optimistic (Davis & Goadrich 2006).
    """
    truth, s = np.asarray(y, bool), np.asarray(score, np.float64)
    order = np.argsort(-s, kind="stable")
    last_G = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    w_Bn = np.ones((1, len(s)), np.int64) if weight is None else weight
    w_Bn = w_Bn[:, order]
    tp_BG = np.cumsum(w_Bn * truth[order], axis=1, dtype=np.int64)[:, last_G].astype(np.float64)
    fp_BG = np.cumsum(w_Bn * ~truth[order], axis=1, dtype=np.int64)[:, last_G].astype(np.float64)
    dtp_BG = np.diff(tp_BG, prepend=0.0, axis=1)
    dfp_BG = np.diff(fp_BG, prepend=0.0, axis=1)
    positives_B, negatives_B = tp_BG[:, -1], fp_BG[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        below_BG = negatives_B[:, None] - fp_BG + 0.5 * dfp_BG
        auroc = np.sum(dtp_BG * below_BG, axis=1) / (positives_B * negatives_B)
        precision_BG = np.where(dtp_BG > 0, tp_BG / (tp_BG + fp_BG), 0.0)
        return {"auroc": auroc, "auc_pr": np.sum(dtp_BG * precision_BG, axis=1) / positives_B}


def undefined(c: Confusion) -> dict[str, str]:
    """Why a metric cannot be stated for these counts, by metric name. What is missing here is defined."""
    reasons: dict[str, str] = {}
    attack, benign, flagged = c.tp + c.fn, c.fp + c.tn, c.tp + c.fp
    if attack + benign == 0:
        return dict.fromkeys(METRICS, NO_WINDOW)
    if flagged in (0, attack + benign):
        reasons["mcc"] = ONE_PREDICTION
    if flagged == 0:
        reasons["precision"] = NONE_FLAGGED
    if attack == 0:
        reasons |= dict.fromkeys(
            ("f1", "macro_f1", "precision", "recall", "mcc", "auroc", "auc_pr"), NO_ATTACK
        )
    if benign == 0:
        reasons |= dict.fromkeys(("macro_f1", "fpr", "mcc", "auroc", "auc_pr"), NO_BENIGN)
    return reasons


def binary_metrics(
    y: ArrayLike,
    score: ArrayLike,
    prediction: ArrayLike,
    *,
    resamples: Resamples | None = None,
    confidence: float = 0.95,
    place: str = "",
) -> dict[str, Estimate]:
    """All of `METRICS` for one slice of windows.

    Args:
        y, score, prediction: [n]. Truth, continuous score (finite), decision.
        resamples: draws of these n windows for percentile intervals; without them no interval is given.
        place: ends an undefined reason: "no attack windows" + " in this scenario".
    """
    truth, s, flagged = np.asarray(y, bool), np.asarray(score, np.float64), np.asarray(prediction, bool)
    counts = confusion(truth, flagged)
    reasons = undefined(counts)
    values = {name: float(v) for name, v in threshold_metrics(counts).items()}
    if "auroc" not in reasons:
        values |= {name: float(v[0]) for name, v in ranking_metrics(truth, s).items()}
    out: dict[str, Estimate] = {}
    draws = _replicates(truth, s, flagged, resamples, reasons) if resamples is not None else {}
    for name in METRICS:
        if name in reasons:
            out[name] = Estimate(None, reason=reasons[name] + place)
        else:
            out[name] = Estimate(values[name])
            if resamples is not None:
                low, high, reason = interval(values[name], draws[name], confidence)
                out[name] = Estimate(
                    values[name], low, high, reason, resamples.level if low is not None else ""
                )
    if resamples is not None:
        out = _widen_collapsed(out, counts, confidence)
    return out


def binary_replicates(
    y: ArrayLike, score: ArrayLike, prediction: ArrayLike, resamples: Resamples, metric: str
) -> Floats:
    """One of `METRICS` on every replicate: [B]; NaN where it is undefined on one. Arguments as `binary_metrics`."""
    truth, s, flagged = np.asarray(y, bool), np.asarray(score, np.float64), np.asarray(prediction, bool)
    reasons = undefined(confusion(truth, flagged))
    if metric in ("auroc", "auc_pr"):
        draws = _replicates(truth, s, flagged, resamples, reasons)
    else:  # Rankings cost the most.
        draws = _replicates(truth, s, flagged, resamples, {"auroc": ""})
    return draws.get(metric, np.full(len(resamples.draws), np.nan))


def _replicates(
    y: NDArray[Any], score: Floats, flagged: NDArray[Any], resamples: Resamples, reasons: dict[str, str]
) -> dict[str, Floats]:
    """Every metric on every replicate: [B] each. Counts need only block sums; ranks need the windows."""
    cells = (y & flagged, ~y & flagged, y & ~flagged, ~y & ~flagged)
    draws: dict[str, Any] = threshold_metrics(Confusion(*(resamples.totals(cell) for cell in cells)))
    if "auroc" not in reasons:
        parts = [ranking_metrics(y, score, weight) for weight in resamples.weights()]
        draws |= {name: np.concatenate([part[name] for part in parts]) for name in ("auroc", "auc_pr")}
    return draws


def _widen_collapsed(estimates: dict[str, Estimate], c: Confusion, confidence: float) -> dict[str, Estimate]:
    """Give a bound to what the bootstrap cannot: all replicates of a flawless detector are flawless.

    With no error in n windows, the error rate stays below 1 - (α/2)^(1/n) (exact binomial; windows are taken as
    independent, since no error was seen that could tell how errors cluster). Metrics of both classes take the worst
    case of recall and FPR; rankings take the rarer class.
    """
    alpha = (1 - confidence) / 2
    attack, benign = c.tp + c.fn, c.fp + c.tn
    miss = 1 - alpha ** (1 / attack) if attack and c.fn == 0 else None
    false = 1 - alpha ** (1 / benign) if benign and c.fp == 0 else None
    worst = Confusion(
        tp=c.tp if miss is None else attack * (1 - miss),
        fp=c.fp if false is None else benign * false,
        fn=c.fn if miss is None else attack * miss,
        tn=c.tn if false is None else benign * (1 - false),
    )
    # The other way round, for a detector that found nothing: what it would reach if its recall were at the bound.
    hit = 1 - alpha ** (1 / attack) if attack else 0.0
    lucky = Confusion(tp=attack * hit, fp=c.fp, fn=attack * (1 - hit), tn=c.tn)
    low = {name: float(v) for name, v in threshold_metrics(worst).items()}
    high = {name: float(v) for name, v in threshold_metrics(lucky).items()}
    if attack and benign:
        low |= dict.fromkeys(("auroc", "auc_pr"), alpha ** (1 / min(attack, benign)))
    out = dict(estimates)
    for name, e in estimates.items():
        if e.value is None or e.low is None or e.low != e.high:
            continue
        if e.value == 1.0:
            out[name] = replace(e, low=alpha ** (1 / benign) if name == "fpr" else low[name], how=BINOMIAL)
        elif e.value == 0.0 and name in ("f1", "precision", "recall"):
            out[name] = replace(e, high=high[name], how=BINOMIAL)
        elif e.value == 0.0 and name == "fpr":
            out[name] = replace(e, high=1 - alpha ** (1 / benign), how=BINOMIAL)
    return out
