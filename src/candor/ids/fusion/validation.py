"""What a policy earns on validation windows while it learns from others."""

from __future__ import annotations

from typing import Protocol, Self

import torch

from candor.ids.fusion.policy import Disguises, Environment, FusionData, Policy, reward

#: What ``Validation.reward`` is logged as.
VAL_REWARD = "val_reward"
#: Rewards lie between −2 and 2 and most near 2: the mean of so many draws is known to about 0.02.
_WINDOWS = 4096
_SEED = 0


class Judged(Disguises, Protocol):
    """What decides how much a window is worth."""

    @property
    def miss_cost(self) -> float: ...


class Validation:
    """Windows drawn as training draws them, half attacks, some in disguise, once.

    Every episode is judged on the same draw, and so is every policy told the same rates and cost, whatever its seed:
    their rewards compare. The draw has a generator of its own, so that a training goes as it would without it.

    Args:
        data: views of the validation windows, shown as of a known and of an unknown vehicle.
        config: the rates of the disguises and the cost of a miss.
    """

    def __init__(self, data: FusionData, config: Judged) -> None:
        own = torch.Generator().manual_seed(_SEED)
        state, gat, vgae, self._y_B, _ = Environment(data, config).draw(_WINDOWS, own)
        self._states_BS, self._gat_B, self._vgae_B = state.double().numpy(), gat.numpy(), vgae.numpy()
        self._miss_cost = config.miss_cost

    @classmethod
    def of(cls, data: FusionData, config: Judged) -> Self | None:
        """None for windows without an attack: there a policy that never alarms would earn the most."""
        return cls(data, config) if data.y_G.any() else None

    def reward(self, policy: Policy) -> float:
        """Mean reward of the weights that the policy gives now, without exploration."""
        fused_B = torch.as_tensor(policy.fuse(self._states_BS, self._gat_B, self._vgae_B))
        return float(reward(fused_B, self._y_B, self._miss_cost).mean())
