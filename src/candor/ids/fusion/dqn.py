"""DQN fusion: a Q-network picks, for each window, how much to trust the GAT over the VGAE.

The action is one of K weights α in [0, 1]; the fused score is α·p_gat + (1−α)·p_vgae. Q-learning with replay and a
target network follows Mnih et al. 2015 (doi:10.1038/nature14236). Every step works on a batch of windows.

Shapes: B windows of a step, S = 15 state fields, K weights.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.flow.stage import Output
from candor.ids.config import DqnConfig
from candor.ids.fusion.states import GAT_FIELDS, STATE_FIELDS, FloatArray
from candor.ids.models.blocks import mlp
from candor.learn.checkpoints import seed_everything

log = logging.getLogger(__name__)


class QNetwork(nn.Module):
    """State → value of each fusion weight. Holds its own state scaling."""

    mean_S: Tensor
    std_S: Tensor

    def __init__(self, config: DqnConfig) -> None:
        super().__init__()
        self.register_buffer("mean_S", torch.zeros(len(STATE_FIELDS)))
        self.register_buffer("std_S", torch.ones(len(STATE_FIELDS)))
        self.layers = mlp([len(STATE_FIELDS), *[config.hidden] * config.layers, config.num_weights])

    def fit_scale(self, states_GS: Tensor) -> None:
        """Centre and scale by the training states."""
        self.mean_S.copy_(states_GS.mean(0))
        self.std_S.copy_(states_GS.std(0).clamp(min=1e-3))

    def forward(self, states_BS: Tensor) -> Tensor:
        # Errors of attacks lie far outside what was trained; clipping keeps the network where it is defined.
        values_BK: Tensor = self.layers(((states_BS - self.mean_S) / self.std_S).clamp(-5, 5))
        return values_BK


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


class DqnFusion(nn.Module):
    """The trained policy."""

    def __init__(self, config: DqnConfig) -> None:
        super().__init__()
        self.config = config
        self.q = QNetwork(config)
        self.register_buffer("weights_K", torch.linspace(0, 1, config.num_weights, dtype=torch.float64))

    weights_K: Tensor

    @torch.inference_mode()
    def weight(self, states_GS: FloatArray) -> FloatArray:
        """The weight α the policy gives the GAT, ``[G]``."""
        values_GK = self.q(torch.as_tensor(states_GS, dtype=torch.float32, device=self.weights_K.device))
        alpha: FloatArray = self.weights_K[values_GK.argmax(-1)].cpu().numpy()
        return alpha

    def fuse(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        """Fused attack probability, ``[G]``."""
        alpha_G = self.weight(states_GS)
        return alpha_G * gat_G + (1 - alpha_G) * vgae_G


def reward(fused_B: Tensor, y_B: Tensor, miss_cost: float) -> Tensor:
    """Right decisions earn 1 and their margin, wrong ones cost 1 (an attack missed: ``miss_cost``) and theirs."""
    margin_B = (2 * fused_B - 1) * (2 * y_B - 1)
    wrong_B = torch.where(y_B > 0, -miss_cost, -1.0).to(margin_B.dtype)
    return margin_B + torch.where(margin_B > 0, 1.0, wrong_B)


class _Replay:
    """A ring of transitions as preallocated tensors."""

    def __init__(self, capacity: int) -> None:
        self._state = torch.empty(capacity, len(STATE_FIELDS))
        self._next = torch.empty(capacity, len(STATE_FIELDS))
        self._action = torch.empty(capacity, dtype=torch.int64)
        self._reward = torch.empty(capacity)
        self._capacity, self._written = capacity, 0

    def push(self, state_BS: Tensor, action_B: Tensor, reward_B: Tensor, next_BS: Tensor) -> None:
        at = (torch.arange(len(action_B)) + self._written) % self._capacity
        self._state[at], self._next[at] = state_BS, next_BS
        self._action[at], self._reward[at] = action_B, reward_B
        self._written += len(action_B)

    def sample(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at = torch.randint(min(self._written, self._capacity), (size,))
        return self._state[at], self._action[at], self._reward[at], self._next[at]


class _Environment:
    """Serves balanced batches of windows, some in disguise.

    An attack with the GAT's view of a benign window is one the classifier never learnt; a benign window of an unknown
    vehicle with the GAT's view of an attack is a false alarm on unfamiliar traffic.
    """

    def __init__(self, data: FusionData, config: DqnConfig) -> None:
        self._data, self._config = data, config
        self._states = torch.as_tensor(data.states_GS, dtype=torch.float32)
        self._gat, self._vgae = torch.as_tensor(data.gat_G), torch.as_tensor(data.vgae_G)
        self._next = torch.as_tensor(data.next_G)
        self._unfamiliar = torch.as_tensor(data.unfamiliar_G)
        self._benign = torch.as_tensor(np.flatnonzero(data.y_G == 0))
        self._attack = torch.as_tensor(np.flatnonzero(data.y_G != 0))

    def draw(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """States, both probabilities, labels, next states of ``size`` windows, half of them attacks."""
        attacks = size // 2 if len(self._attack) else 0
        benign = self._benign[torch.randint(len(self._benign), (size - attacks,))]
        if attacks:
            attack = self._attack[torch.randint(len(self._attack), (attacks,))]
            at = torch.cat([benign, attack])
        else:
            at = benign
        state, gat = self._states[at].clone(), self._gat[at].clone()
        y = torch.cat([torch.zeros(len(benign)), torch.ones(attacks)]).double()
        self._disguise(
            state, gat, self._benign, (torch.rand(size) < self._config.unseen_attack_rate) & (y > 0)
        )
        alarmed = (torch.rand(size) < self._config.unfamiliar_alarm_rate) & (y == 0) & self._unfamiliar[at]
        self._disguise(state, gat, self._attack, alarmed)
        return state, gat, self._vgae[at], y, self._states[self._next[at]]

    def _disguise(self, state: Tensor, gat: Tensor, as_one_of: Tensor, chosen: Tensor) -> None:
        """Give the ``chosen`` rows the GAT's view of windows drawn from ``as_one_of``, in place."""
        if len(as_one_of):
            mask = as_one_of[torch.randint(len(as_one_of), (len(chosen),))]
            state[chosen, GAT_FIELDS] = self._states[mask][chosen, GAT_FIELDS]
            gat[chosen] = self._gat[mask][chosen]


def train(data: FusionData, config: DqnConfig, seed: int, out: Output) -> DqnFusion:
    """Q-learning over the training windows.

    The next window does not depend on the weight chosen, so the discount only adds a value common to all weights of a
    state; it is kept small.
    """
    seed_everything(seed, 2)
    model = DqnFusion(config)
    environment, replay = _Environment(data, config), _Replay(config.replay_capacity)
    model.q.fit_scale(torch.as_tensor(data.states_GS, dtype=torch.float32))
    target = copy.deepcopy(model.q)
    optimizer = torch.optim.Adam(model.q.parameters(), lr=config.learning_rate)
    steps = config.episodes * config.steps_per_episode
    earned, losses = 0.0, 0.0
    for step in range(steps):
        progress = min(1.0, 2 * step / steps)  # Explore over the first half.
        epsilon = config.epsilon_start + (config.epsilon_end - config.epsilon_start) * progress
        state, gat, vgae, y, following = environment.draw(config.batch_size)
        with torch.no_grad():
            greedy = model.q(state).argmax(-1)
        explore = torch.rand(config.batch_size) < epsilon
        action = torch.where(explore, torch.randint(config.num_weights, greedy.shape), greedy)
        alpha = model.weights_K[action]
        gained = reward(alpha * gat + (1 - alpha) * vgae, y, config.miss_cost)
        replay.push(state, action, gained.float(), following)
        losses += _update(model.q, target, optimizer, replay.sample(config.batch_size), config)
        earned += float(gained.mean())
        if (step + 1) % config.target_update_steps == 0:
            target.load_state_dict(model.q.state_dict())
        if (step + 1) % config.steps_per_episode == 0:
            episode, n = step // config.steps_per_episode, config.steps_per_episode
            log.info("episode %d of %d: reward %.4f", episode + 1, config.episodes, earned / n)
            out.recorder.log(
                episode, {"reward": earned / n, "loss": losses / n, "epsilon": epsilon}, kind="episode"
            )
            out.progress(episode + 1, config.episodes, f"reward {earned / n:.3f}")
            earned, losses = 0.0, 0.0
    return model.eval()


def _update(
    q: QNetwork,
    target: QNetwork,
    optimizer: torch.optim.Optimizer,
    sample: tuple[Tensor, Tensor, Tensor, Tensor],
    config: DqnConfig,
) -> float:
    """One step of Huber loss towards r + γ·max Q_target(next)."""
    state, action, gained, following = sample
    with torch.no_grad():
        goal = gained + config.discount * target(following).amax(-1)
    loss = F.smooth_l1_loss(q(state).gather(1, action[:, None])[:, 0], goal)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())
