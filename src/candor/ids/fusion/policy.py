"""What every fusion policy shares: the windows it learns from, the reward, and how it fuses.

A policy gives each window a weight α in [0, 1]; the fused score is α·p_gat + (1−α)·p_vgae.

Shapes: G windows, B windows of a step, S = 15 state fields.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from candor.ids.fusion.states import GAT_FIELDS, STATE_FIELDS, FloatArray


class Disguises(Protocol):
    """How often windows are shown as what they are not; see ids.config.models.DqnConfig."""

    @property
    def unseen_attack_rate(self) -> float: ...
    @property
    def unfamiliar_alarm_rate(self) -> float: ...


@dataclass(frozen=True)
class FusionData:
    """Training windows in order of time: states, both probabilities, labels, and the window that follows each.

    ``unfamiliar_G`` marks the views in which the vehicle was shown as unknown.
    """

    states_GS: FloatArray
    gat_G: FloatArray
    vgae_G: FloatArray
    y_G: np.ndarray
    next_G: np.ndarray
    unfamiliar_G: np.ndarray

    def with_views(self, other: FusionData) -> FusionData:
        """Both sets of views, one behind the other."""
        return FusionData(
            np.concatenate([self.states_GS, other.states_GS]),
            np.concatenate([self.gat_G, other.gat_G]),
            np.concatenate([self.vgae_G, other.vgae_G]),
            np.concatenate([self.y_G, other.y_G]),
            np.concatenate([self.next_G, other.next_G + len(self.y_G)]),
            np.concatenate([self.unfamiliar_G, other.unfamiliar_G]),
        )


class Policy(nn.Module):
    """A trained fusion policy."""

    @abstractmethod
    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        """The weight α the policy gives the GAT, ``[G]``."""

    def fuse(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        """Fused attack probability, ``[G]``."""
        alpha_G = self.weight(states_GS, gat_G, vgae_G)
        return alpha_G * gat_G + (1 - alpha_G) * vgae_G


class StateScale(nn.Module):
    """Centres and scales states by those of training."""

    mean_S: Tensor
    std_S: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_S", torch.zeros(len(STATE_FIELDS)))
        self.register_buffer("std_S", torch.ones(len(STATE_FIELDS)))

    def fit_scale(self, states_GS: Tensor) -> None:
        """Centre and scale by the training states."""
        self.mean_S.copy_(states_GS.mean(0))
        self.std_S.copy_(states_GS.std(0).clamp(min=1e-3))

    def scaled(self, states_BS: Tensor) -> Tensor:
        """Errors of attacks lie far outside what was trained; clipping keeps a network where it is defined."""
        return ((states_BS - self.mean_S) / self.std_S).clamp(-5, 5)


def reward(fused_B: Tensor, y_B: Tensor, miss_cost: float) -> Tensor:
    """Right decisions earn 1 and their margin, wrong ones cost 1 (an attack missed: ``miss_cost``) and theirs."""
    margin_B = (2 * fused_B - 1) * (2 * y_B - 1)
    wrong_B = torch.where(y_B > 0, -miss_cost, -1.0).to(margin_B.dtype)
    return margin_B + torch.where(margin_B > 0, 1.0, wrong_B)


class Environment:
    """Serves balanced batches of windows, some in disguise.

    An attack with the GAT's view of a benign window is one the classifier never learnt; a benign window of an unknown
    vehicle with the GAT's view of an attack is a false alarm on unfamiliar traffic.
    """

    def __init__(self, data: FusionData, config: Disguises) -> None:
        self._data, self._config = data, config
        self._states = torch.as_tensor(data.states_GS, dtype=torch.float32)
        self._gat, self._vgae = torch.as_tensor(data.gat_G), torch.as_tensor(data.vgae_G)
        self._next = torch.as_tensor(data.next_G)
        self._unfamiliar = torch.as_tensor(data.unfamiliar_G)
        self._benign = torch.as_tensor(np.flatnonzero(data.y_G == 0))
        self._attack = torch.as_tensor(np.flatnonzero(data.y_G != 0))

    def draw(
        self, size: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """States, both probabilities, labels, next states of ``size`` windows, half of them attacks.

        None draws from torch's own generator.
        """

        def some(of: Tensor, count: int) -> Tensor:
            return of[torch.randint(len(of), (count,), generator=generator)]

        def by_chance(rate: float) -> Tensor:
            return torch.rand(size, generator=generator) < rate

        attacks = size // 2 if len(self._attack) else 0
        benign = some(self._benign, size - attacks)
        at = torch.cat([benign, some(self._attack, attacks)]) if attacks else benign
        state, gat = self._states[at].clone(), self._gat[at].clone()
        y = torch.cat([torch.zeros(len(benign)), torch.ones(attacks)]).double()
        unseen = by_chance(self._config.unseen_attack_rate) & (y > 0)
        self._disguise(state, gat, some(self._benign, size), unseen)
        alarmed = by_chance(self._config.unfamiliar_alarm_rate) & (y == 0) & self._unfamiliar[at]
        if len(self._attack):
            self._disguise(state, gat, some(self._attack, size), alarmed)
        return state, gat, self._vgae[at], y, self._states[self._next[at]]

    def _disguise(self, state: Tensor, gat: Tensor, mask: Tensor, chosen: Tensor) -> None:
        """Give the ``chosen`` rows the GAT's view of the windows ``mask``, one for each row, in place."""
        state[chosen, GAT_FIELDS] = self._states[mask][chosen, GAT_FIELDS]
        gat[chosen] = self._gat[mask][chosen]
