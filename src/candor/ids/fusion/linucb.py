"""Neural-LinUCB fusion (Xu, Wen, Zhao, Gu 2022, arXiv:2012.01780): a network learns features, LinUCB explores on top.

The arms are K weights α in [0, 1]; only the reward of the arm that was pulled is seen. The value of an arm is linear in
the network's last layer, θ_k·φ(s); an arm is pulled by θ_k·φ + c·sqrt(φᵀ A_k⁻¹ φ), eq. 3.2, so exploration follows what
is uncertain and needs no epsilon. Windows do not depend on the weights chosen before, so a bandit fits them as they are.

Shapes: B windows of a step, S = 15 state fields, K arms, D = width of φ.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from candor.flow.stage import Output
from candor.ids.config import LinUcbConfig
from candor.ids.fusion.dqn import Replay
from candor.ids.fusion.policy import Environment, FusionData, Policy, StateScale, reward
from candor.ids.fusion.progress import EpisodeLog
from candor.ids.fusion.states import STATE_FIELDS, FloatArray
from candor.ids.fusion.validation import Validation
from candor.ids.models.blocks import mlp
from candor.learn.checkpoints import seed_everything


class Features(StateScale):
    """State → φ of length at most about 1, with a constant for the intercept."""

    def __init__(self, config: LinUcbConfig) -> None:
        super().__init__()
        self.width = config.hidden + 1
        self.layers = mlp([len(STATE_FIELDS), *[config.hidden] * config.layers])

    def forward(self, states_BS: Tensor) -> Tensor:
        hidden_BH = torch.tanh(self.layers(self.scaled(states_BS))) / (self.width - 1) ** 0.5
        return torch.cat([hidden_BH, torch.ones_like(hidden_BH[:, :1])], dim=-1)


class LinUcbFusion(Policy):
    """The trained policy: the arm of highest value, without exploration."""

    weights_K: Tensor
    theta_KD: Tensor

    def __init__(self, config: LinUcbConfig) -> None:
        super().__init__()
        self.config = config
        self.features = Features(config)
        self.register_buffer("weights_K", torch.linspace(0, 1, config.num_weights, dtype=torch.float64))
        self.register_buffer("theta_KD", torch.zeros(config.num_weights, self.features.width))

    @torch.inference_mode()
    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        states = torch.as_tensor(states_GS, dtype=torch.float32, device=self.weights_K.device)
        values_GK = self.features(states) @ self.theta_KD.T
        alpha: FloatArray = self.weights_K[values_GK.argmax(-1)].cpu().numpy()
        return alpha


class _Arms:
    """Ridge regression per arm: A = λI + Σ φφᵀ, b = Σ rφ, θ = A⁻¹b. In double: A is nearly singular."""

    def __init__(self, config: LinUcbConfig, width: int) -> None:
        eye = torch.eye(width, dtype=torch.float64) * config.ridge
        self._empty = eye.expand(config.num_weights, width, width)
        self.clear()

    def clear(self) -> None:
        self.a_KDD = self._empty.clone()
        self.b_KD = torch.zeros(self.a_KDD.shape[:2], dtype=torch.float64)
        self.solve()

    def add(self, phi_BD: Tensor, action_B: Tensor, reward_B: Tensor) -> None:
        """Count pulls; one product per arm, none per window."""
        phi, gained = phi_BD.double(), reward_B.double()
        self.b_KD.index_add_(0, action_B, gained[:, None] * phi)
        for arm in torch.bincount(action_B).nonzero()[:, 0].tolist():
            mine = phi[action_B == arm]
            self.a_KDD[arm] += mine.T @ mine

    def solve(self) -> None:
        self.inverse_KDD = torch.linalg.inv(self.a_KDD)
        self.theta_KD = (self.inverse_KDD @ self.b_KD[:, :, None])[:, :, 0].float()
        self._inverse_float_KDD = self.inverse_KDD.float()

    def bounds(self, phi_BD: Tensor, exploration: float) -> Tensor:
        """Upper confidence bound of every arm, ``[B, K]``."""
        variance_BK = torch.einsum("bd,kde,be->bk", phi_BD, self._inverse_float_KDD, phi_BD)
        bound_BK: Tensor = phi_BD @ self.theta_KD.T + exploration * variance_BK.clamp(min=0).sqrt()
        return bound_BK


def train(
    data: FusionData, config: LinUcbConfig, seed: int, out: Output, validation: Validation | None = None
) -> LinUcbFusion:
    """Pull, observe, and every ``refit_steps`` train the features and count all pulls anew under them."""
    seed_everything(seed, 3)
    model = LinUcbFusion(config)
    model.features.fit_scale(torch.as_tensor(data.states_GS, dtype=torch.float32))
    environment, replay = Environment(data, config), Replay(config.replay_capacity)
    arms = _Arms(config, model.features.width)
    optimizer = torch.optim.Adam(model.features.parameters(), lr=config.learning_rate)
    told = EpisodeLog(config, out, model, validation)
    loss = 0.0
    for step in range(told.steps):
        state, gat, vgae, y, following = environment.draw(config.batch_size)
        with torch.no_grad():
            phi = model.features(state)
            action = arms.bounds(phi, config.exploration).argmax(-1)
        alpha = model.weights_K[action]
        gained = reward(alpha * gat + (1 - alpha) * vgae, y, config.miss_cost)
        replay.push(state, action, gained.float(), following)
        arms.add(phi, action, gained)
        if (step + 1) % config.refit_steps == 0 or step + 1 == told.steps:
            loss = _refit(model, arms, optimizer, replay, config)
        else:
            arms.solve()
        model.theta_KD.copy_(arms.theta_KD)
        told.step({"reward": float(gained.mean()), "loss": loss})
    return model.eval()


def _refit(
    model: LinUcbFusion,
    arms: _Arms,
    optimizer: torch.optim.Optimizer,
    replay: Replay,
    config: LinUcbConfig,
) -> float:
    """Gradient steps on (θ_a·φ(s) − r)² with θ fixed; then A, b and θ of all held pulls under the new features."""
    total = 0.0
    for _ in range(config.refit_updates):
        state, action, gained, _ = replay.sample(config.batch_size)
        value = (model.features(state) * arms.theta_KD[action]).sum(-1)
        loss = F.mse_loss(value, gained)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach())
    state, action, gained = replay.everything()
    arms.clear()
    with torch.no_grad():
        arms.add(model.features(state), action, gained)
    arms.solve()
    return total / config.refit_updates
