"""What one variant gains against another, per detector and scenario: the distillation report, and every ablation's.

Over several seeds the pairs are seeds, and the interval is that of their mean difference. Of one seed it is the bootstrap's,
over replicates of the same windows for both.

Legend: B bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.ids.evaluation.truth import Slice
from candor.learn.effects import ONE_SEED, Effect, over_draws, over_seeds
from candor.learn.metrics import binary_replicates

Floats = NDArray[np.float64]

#: Metrics compared; a lower FPR is better, of the others the higher.
COMPARED: Final = ("f1", "recall", "fpr", "auroc", "auc_pr")

EFFECTS: Final = {
    "detector": pl.String,
    "variant": pl.String,
    "against": pl.String,
    "scenario": pl.String,
    "metric": pl.String,
    "first": pl.Float64,
    "second": pl.Float64,
    "seeds": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "size": pl.Float64,
    "confidence": pl.Float64,
    "method": pl.String,
    "reason": pl.String,
    "size_low": pl.Float64,
    "size_high": pl.Float64,
    "size_reason": pl.String,
}


@dataclass(frozen=True)
class Scored:
    """What is kept of a judged detector: test scores in the order of its rows, and what each must reach."""

    score: Floats
    threshold: Floats
    slices: Sequence[Slice]


def effects(
    results: pl.DataFrame,
    scored: Mapping[tuple[str, str, int], Scored],
    pairs: Sequence[tuple[str, str]],
    confidence: float,
) -> pl.DataFrame:
    """One row per pair of variants, detector that both have, scenario and metric.

    Args:
        results: rows of single seeds. scored: detector, variant and seed → what it scored.
    """
    rows: list[dict[str, Any]] = []
    whole = results.filter(pl.col("seed").is_not_null(), capture="", attack="", level="window")
    values = {
        (d, v, s, c, m): x
        for d, v, s, c, m, x in whole.select(
            "detector", "variant", "seed", "scenario", "metric", "value"
        ).iter_rows()
    }
    for first, second in pairs:
        for detector, seeds in _common(scored, first, second):
            for scenario in whole["scenario"].unique().sort().to_list():
                for metric in COMPARED:
                    both = [
                        tuple(values.get((detector, v, s, scenario, metric)) for v in (first, second))
                        for s in seeds
                    ]
                    kept = [(s, a, b) for s, (a, b) in zip(seeds, both, strict=True) if None not in (a, b)]
                    found = _effect(detector, (first, second), scenario, metric, kept, scored, confidence)
                    rows.append(
                        {
                            "detector": detector,
                            "variant": first,
                            "against": second,
                            "scenario": scenario,
                            "metric": metric,
                            "first": float(np.mean([a for _, a, _ in kept])) if kept else None,
                            "second": float(np.mean([b for _, _, b in kept])) if kept else None,
                            "seeds": len(kept),
                            "confidence": confidence,
                            **asdict(found),
                        }
                    )
    return pl.DataFrame(rows, schema=EFFECTS)


def _common(
    scored: Mapping[tuple[str, str, int], Scored], first: str, second: str
) -> Iterator[tuple[str, list[int]]]:
    """Detectors that both variants have, with the seeds they share."""
    for detector in sorted({d for d, _, _ in scored}):
        seeds = {v: {s for d, w, s in scored if (d, w) == (detector, v)} for v in (first, second)}
        if shared := sorted(seeds[first] & seeds[second]):
            yield detector, shared


def _effect(
    detector: str,
    pair: tuple[str, str],
    scenario: str,
    metric: str,
    kept: Sequence[tuple[int, Any, Any]],
    scored: Mapping[tuple[str, str, int], Scored],
    confidence: float,
) -> Effect:
    if not kept:
        why = "undefined for one of the two in every seed"
        return Effect(None, reason=why, size_reason=why)
    if len(kept) > 1:
        return over_seeds([a for _, a, _ in kept], [b for _, _, b in kept], confidence)
    ((seed, a, b),) = kept
    first, second = (scored[detector, variant, seed] for variant in pair)
    if first.slices is not second.slices or (part := _whole(first, scenario)) is None:
        why = "no interval: the two were scored on different windows"
        return Effect(a - b, reason=why, size_reason=ONE_SEED)
    draws = (_draws(first, part, metric), _draws(second, part, metric))
    return over_draws(a, b, draws, confidence, level=part.resamples.level)


def _whole(of: Scored, scenario: str) -> Slice | None:
    """All windows of a scenario."""
    return next((p for p in of.slices if (p.scenario, p.capture, p.attack) == (scenario, "", "")), None)


def _draws(of: Scored, part: Slice, metric: str) -> Floats:
    """The metric on every replicate of the windows of ``part``: [B]."""
    score = of.score[part.rows]
    return binary_replicates(part.y, score, score >= of.threshold[part.rows], part.resamples, metric)
