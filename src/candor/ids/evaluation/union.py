"""Detectors OR-ed under one false-alarm budget, which validation splits between them.

Each member i gets a share w_i of the budget B and alarms where the share of benign validation windows that score as high
as this one, p_i, is at most w_i · B; by the union bound all of them together alarm on at most B of benign traffic like
validation's. As this holds for every B, the OR of the members is an ordinary detector with the score

    max over i of  -ln p_i + ln w_i

and gets its thresholds like any other. Beyond the highest benign score, where no share can be counted, -ln p_i goes on
linearly: one unit for every benign spread (highest less median), so that a score keeps its rank.

The split is the one of a grid that finds most attacks of validation, on the mean over their families, at the configured
budget; equal findings go to the more even split, and validation without attacks to the even one. No member gets nothing:
attacks that validation does not hold may be its business.

Legend: n benign validation windows, m windows, k members.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import DataError
from candor.ids.baselines.specialists import NAMES as SPECIALISTS
from candor.ids.config import UnionConfig
from candor.ids.scoring import DETECTOR_KEY, SCORE_SCHEMA, WINDOW_KEY, validate

Floats = NDArray[np.float64]

#: Variants that have no seeds: one set of scores stands beside every model.
SHARED = ("control", "specialist", "baseline")
_WINDOW = ["split", *WINDOW_KEY]
#: Not part of every run.
_OPTIONAL = {*SPECIALISTS, "vgae", "gat", "fusion", "temporal", "payload", "frame_dynamics"}


@dataclass(frozen=True)
class Surprise:
    """-ln p of a score among benign validation scores; fitted on them alone."""

    benign_n: Floats
    spread: float

    @classmethod
    def fit(cls, benign_n: Floats, all_n: Floats) -> Surprise:
        """``all_n``: all validation scores; their steps give the unit where benign ones are all equal."""
        ordered = np.sort(benign_n)
        spread = float(ordered[-1] - np.median(ordered))
        if spread <= 0:
            steps = np.diff(np.unique(all_n))
            spread = float(steps.min()) if len(steps) else 1.0
        return cls(ordered, spread)

    def __call__(self, score_m: Floats) -> Floats:
        """[m], 0 or more."""
        n = len(self.benign_n)
        as_high = n - np.searchsorted(self.benign_n, score_m, side="left")
        beyond = np.log(n + 1) + (score_m - self.benign_n[-1]) / self.spread
        return np.where(as_high > 0, -np.log(np.maximum(as_high, 1) / n), beyond)

    def inverse(self, surprise: float) -> float:
        """Lowest score that surprises so much, and the lowest benign one where any does."""
        n, top = len(self.benign_n), float(self.benign_n[-1])
        if surprise > np.log(n):
            return max(
                float(np.nextafter(top, np.inf)), top + (surprise - float(np.log(n + 1))) * self.spread
            )
        allowed = int(np.floor(n * np.exp(-surprise) * (1 + 1e-12)))
        lower = n - allowed - 1
        return float(np.nextafter(self.benign_n[lower], np.inf)) if lower >= 0 else float(self.benign_n[0])


@dataclass(frozen=True)
class Member:
    """A detector of a union: its scores on the union's rows, what they mean, and its share of the budget."""

    name: str
    score_m: Floats
    surprise: Surprise
    share: float


def splits(members: int, grid: int) -> Iterator[tuple[float, ...]]:
    """Positive shares of one, in parts of one ``grid``-th (finer where the members are more), the evenest first."""
    parts = max(grid, members)
    cuts = itertools.combinations(range(1, parts), members - 1)
    found = [tuple(b - a for a, b in itertools.pairwise((0, *c, parts))) for c in cuts]
    for shares in sorted(found, key=lambda f: (sum(v * v for v in f), f)):
        yield tuple(v / parts for v in shares)


def split_budget(
    surprise_mk: Floats, attack_m: Sequence[str], config: UnionConfig
) -> tuple[tuple[float, ...], float | None]:
    """(shares, mean recall over families at the budget) on validation; None where it holds no attack."""
    family = np.array(attack_m, dtype=object)
    masks = [family == name for name in sorted(set(attack_m) - {""})]
    members = surprise_mk.shape[1]
    if not masks:
        return tuple([1 / members] * members), None
    best: tuple[tuple[float, ...], float] | None = None
    for shares in splits(members, config.grid):
        alarm = (surprise_mk + np.log(shares) >= -np.log(config.budget)).any(axis=1)
        recall = float(np.mean([alarm[mask].mean() for mask in masks]))
        if best is None or recall > best[1] + 1e-12:
            best = (shares, recall)
    assert best is not None
    return best


def form(scores: pl.DataFrame, unions: Sequence[UnionConfig]) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The score table with the unions' rows, and how each came about.

    A union is formed for every variant and seed that has one of its members; the others come from the baselines. It is
    left out where a specialist or a model among its members is not scored (flows have no specialists).

    Raises:
        DataError: some members of a union are scored and some are not, or its name is taken.
    """
    tables, told = [scores], []
    names = set(scores["detector"].to_list())
    for union in unions:
        missing = [m for m in union.members if m not in names]
        if missing and set(missing) <= _OPTIONAL:
            continue
        if missing or union.name in names:
            raise DataError(
                f"the union '{union.name}' "
                + (
                    f"has a member '{missing[0]}' that nothing scored" if missing else "has a detector's name"
                ),
                place="evaluation.unions",
                hint=f"Detectors: {', '.join(sorted(names))}.",
            )
        for lane, parts in _lanes(scores, union):
            table, how = _formed(union, lane, parts)
            tables.append(table)
            told.append(how)
    whole = pl.concat(tables)
    return (validate(whole).sort([*DETECTOR_KEY, *_WINDOW]) if told else scores), told


def members(scores: pl.DataFrame, union: UnionConfig, how: dict[str, Any]) -> list[Member]:
    """Members of one union that `form` formed, ``how`` being what it told of it; rows in the order of the score table."""
    lane = (how["variant"], how["seed"])
    parts = next(parts for found, parts in _lanes(scores, union) if found == lane)
    first = parts[0]
    is_val = (first["split"] == "val").to_numpy()
    benign = is_val & (first["y"].to_numpy() == 0)
    found = []
    for part, share in zip(parts, how["shares"], strict=True):
        s = part["score"].to_numpy()
        found.append(Member(part["detector"].to_numpy()[0], s, Surprise.fit(s[benign], s[is_val]), share))
    return found


def _lanes(scores: pl.DataFrame, union: UnionConfig) -> Iterator[tuple[tuple[str, int], list[pl.DataFrame]]]:
    """((variant, seed), table of each member).

    Members that are all of one shared kind (the specialists) are one lane, whatever else has a member's name: payload
    dynamics are called ``payload`` too.
    """
    keys = scores.select(DETECTOR_KEY).unique(maintain_order=True).rows()
    shared = {d: (v, s) for d, v, s in keys if v in SHARED}
    alike = {shared[m] for m in union.members if m in shared}
    together = len(alike) == 1 and all(m in shared for m in union.members)
    own = sorted({(v, s) for d, v, s in keys if d in union.members and v not in SHARED})
    lanes = own if own and not together else [shared[union.members[0]]]
    for variant, seed in lanes:
        places = [
            (m, variant, seed) if (m, variant, seed) in keys else (m, *shared[m])
            for m in union.members
            if (m, variant, seed) in keys or m in shared
        ]
        yield (
            (variant, seed),
            [scores.filter(detector=d, variant=v, seed=s).sort(_WINDOW) for d, v, s in places],
        )


def _formed(
    union: UnionConfig, lane: tuple[str, int], parts: list[pl.DataFrame]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    first = parts[0]
    members = [part["detector"].to_numpy()[0] for part in parts]
    place = f"detector {union.name} {lane[0]}, seed {lane[1]}"
    if any(not first.select(_WINDOW).equals(part.select(_WINDOW)) for part in parts[1:]):
        raise DataError(
            "members of a union were scored on different windows",
            place=place,
            hint="Score all of them on the same graphs, or leave the odd one out of evaluation.unions.",
        )
    is_val = (first["split"] == "val").to_numpy()
    benign = is_val & (first["y"].to_numpy() == 0)
    if not benign.any():
        raise DataError(
            "no benign validation window to split a budget on", place=place, hint="Add benign traffic."
        )
    scores = [part["score"].to_numpy() for part in parts]
    surprise_mk = np.stack([Surprise.fit(s[benign], s[is_val])(s) for s in scores], axis=1)
    shares, recall = split_budget(surprise_mk[is_val], first["attack"].to_numpy()[is_val].tolist(), union)
    table = first.with_columns(
        pl.lit(union.name).alias("detector"),
        pl.lit(lane[0]).alias("variant"),
        pl.lit(lane[1], pl.Int64).alias("seed"),
        pl.Series("score", (surprise_mk + np.log(shares)).max(axis=1)),
    ).select(*SCORE_SCHEMA)
    how = {
        "detector": union.name,
        "variant": lane[0],
        "seed": lane[1],
        "members": members,
        "shares": list(shares),
        "budget": union.budget,
        "validation_recall": recall,
    }
    return table, how
