"""DQN fusion: a Q-network picks, for each window, how much to trust the GAT over the VGAE.

The action is one of K weights α in [0, 1]. Q-learning with replay and a target network follows Mnih et al. 2015
(doi:10.1038/nature14236). Every step works on a batch of windows.

Shapes: B windows of a step, S = 15 state fields, K weights.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.flow.stage import Output
from candor.ids.config import DqnConfig
from candor.ids.fusion.policy import Environment, FusionData, Policy, StateScale, reward
from candor.ids.fusion.progress import EpisodeLog
from candor.ids.fusion.states import STATE_FIELDS, FloatArray
from candor.ids.fusion.validation import Validation
from candor.ids.models.blocks import mlp
from candor.learn.checkpoints import seed_everything


class QNetwork(StateScale):
    """State → value of each fusion weight. Holds its own state scaling."""

    def __init__(self, config: DqnConfig) -> None:
        super().__init__()
        self.layers = mlp([len(STATE_FIELDS), *[config.hidden] * config.layers, config.num_weights])

    def forward(self, states_BS: Tensor) -> Tensor:
        values_BK: Tensor = self.layers(self.scaled(states_BS))
        return values_BK


class DqnFusion(Policy):
    """The trained policy."""

    weights_K: Tensor

    def __init__(self, config: DqnConfig) -> None:
        super().__init__()
        self.config = config
        self.q = QNetwork(config)
        self.register_buffer("weights_K", torch.linspace(0, 1, config.num_weights, dtype=torch.float64))

    @torch.inference_mode()
    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        values_GK = self.q(torch.as_tensor(states_GS, dtype=torch.float32, device=self.weights_K.device))
        alpha: FloatArray = self.weights_K[values_GK.argmax(-1)].cpu().numpy()
        return alpha


class Replay:
    """A ring of transitions as preallocated tensors."""

    def __init__(self, capacity: int) -> None:
        self._state = torch.empty(capacity, len(STATE_FIELDS))
        self._next = torch.empty(capacity, len(STATE_FIELDS))
        self._action = torch.empty(capacity, dtype=torch.int64)
        self._reward = torch.empty(capacity)
        self._capacity, self._written = capacity, 0

    def __len__(self) -> int:
        return min(self._written, self._capacity)

    def push(self, state_BS: Tensor, action_B: Tensor, reward_B: Tensor, next_BS: Tensor) -> None:
        at = (torch.arange(len(action_B)) + self._written) % self._capacity
        self._state[at], self._next[at] = state_BS, next_BS
        self._action[at], self._reward[at] = action_B, reward_B
        self._written += len(action_B)

    def sample(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at = torch.randint(len(self), (size,))
        return self._state[at], self._action[at], self._reward[at], self._next[at]

    def everything(self) -> tuple[Tensor, Tensor, Tensor]:
        """States, actions and rewards of all transitions held."""
        held = slice(0, len(self))
        return self._state[held], self._action[held], self._reward[held]


def train(
    data: FusionData, config: DqnConfig, seed: int, out: Output, validation: Validation | None = None
) -> DqnFusion:
    """Q-learning over the training windows.

    The next window does not depend on the weight chosen, so the discount only adds a value common to all weights of a
    state; it is kept small.
    """
    seed_everything(seed, 2)
    model = DqnFusion(config)
    environment, replay = Environment(data, config), Replay(config.replay_capacity)
    model.q.fit_scale(torch.as_tensor(data.states_GS, dtype=torch.float32))
    target = copy.deepcopy(model.q)
    optimizer = torch.optim.Adam(model.q.parameters(), lr=config.learning_rate)
    told = EpisodeLog(config, out, model, validation)
    for step in range(told.steps):
        progress = min(1.0, 2 * step / told.steps)  # Explore over the first half.
        epsilon = config.epsilon_start + (config.epsilon_end - config.epsilon_start) * progress
        state, gat, vgae, y, following = environment.draw(config.batch_size)
        with torch.no_grad():
            greedy = model.q(state).argmax(-1)
        explore = torch.rand(config.batch_size) < epsilon
        action = torch.where(explore, torch.randint(config.num_weights, greedy.shape), greedy)
        alpha = model.weights_K[action]
        gained = reward(alpha * gat + (1 - alpha) * vgae, y, config.miss_cost)
        replay.push(state, action, gained.float(), following)
        loss = _update(model.q, target, optimizer, replay.sample(config.batch_size), config)
        if (step + 1) % config.target_update_steps == 0:
            target.load_state_dict(model.q.state_dict())
        told.step({"reward": float(gained.mean()), "loss": loss}, epsilon=epsilon)
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
