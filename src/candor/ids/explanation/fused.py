"""A fused decision taken apart: which detector decided, and which numbers of the state set its weight.

With weight α and threshold t the fused score exceeds t by α·(p_gat − t) + (1 − α)·(p_vgae − t): the two parts. The part that
goes furthest the way of the decision decided. What a field of the state did is measured by putting it, alone, where the
training windows have it on the mean; the probabilities stay as they are.

Shapes: S = 15 state fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from candor.ids.fusion.policy import Policy, StateScale
from candor.ids.fusion.states import GAT_FIELDS, STATE_FIELDS, VGAE_FIELDS, FloatArray

#: Fields put at their mean together, beside every field alone.
_GROUPS = {"all of the autoencoder's": VGAE_FIELDS, "all of the classifier's": GAT_FIELDS}
#: A smaller change of the weight is none.
_CHANGED = 1e-6


@dataclass(frozen=True)
class FieldEffect:
    """One field of the state, or a group. ``deviation_sd``: from the training mean, None of a group.

    ``weight_without``, ``score_without``: the weight, and the fused score, with the field at its training mean.
    """

    field: str
    value: float | None
    deviation_sd: float | None
    weight_without: float
    score_without: float


@dataclass(frozen=True)
class Verdict:
    """How a fused score came about; ``decider`` is whose part goes furthest the way of the decision."""

    weight: float
    gat_probability: float
    vgae_probability: float
    gat_part: float
    vgae_part: float
    decider: Literal["gat", "vgae"]
    fields: tuple[FieldEffect, ...]

    def telling(self, count: int = 3) -> list[FieldEffect]:
        """The fields without which the weight would differ most; groups where no field does it alone, else none."""
        moved = [f for f in self.fields if abs(f.weight_without - self.weight) > _CHANGED]
        moved = [f for f in moved if f.value is not None] or moved
        return sorted(moved, key=lambda f: -abs(f.weight_without - self.weight))[:count]


def verdict(policy: Policy, state_S: FloatArray, gat: float, vgae: float, threshold: float) -> Verdict:
    """Take one window's fused decision at ``threshold`` apart. ``gat``, ``vgae``: its two attack probabilities."""
    scale = next((m for m in policy.modules() if isinstance(m, StateScale)), None)
    # A rule that reads no state has no mean of it either: nothing changes.
    mean_S = scale.mean_S.double().cpu().numpy() if scale is not None else state_S
    std_S = scale.std_S.double().cpu().numpy() if scale is not None else np.ones_like(state_S)
    places = [slice(k, k + 1) for k in range(len(STATE_FIELDS))] + list(_GROUPS.values())
    states = np.repeat(state_S[None], 1 + len(places), axis=0)
    for row, place in enumerate(places, 1):
        states[row, place] = mean_S[place]
    count = len(states)
    alpha = policy.weight(states, np.full(count, gat), np.full(count, vgae))
    weight = float(alpha[0])
    gat_part, vgae_part = weight * (gat - threshold), (1 - weight) * (vgae - threshold)
    sign = 1 if gat_part + vgae_part >= 0 else -1
    names = [*STATE_FIELDS, *_GROUPS]
    values = [*state_S.tolist(), *[None] * len(_GROUPS)]
    deviations = [*((state_S - mean_S) / std_S).tolist(), *[None] * len(_GROUPS)]
    fields = tuple(
        FieldEffect(name, value, deviation, float(a), float(a * gat + (1 - a) * vgae))
        for name, value, deviation, a in zip(names, values, deviations, alpha[1:], strict=True)
    )
    decider: Literal["gat", "vgae"] = "gat" if sign * gat_part >= sign * vgae_part else "vgae"
    return Verdict(weight, gat, vgae, gat_part, vgae_part, decider, fields)
