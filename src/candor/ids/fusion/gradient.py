"""Fusion by gradient: the weight is a smooth function of the state (MLP) or one number (average).

Both minimise the cross-entropy of the fused probability, a missed attack counted ``miss_cost`` times.

Shapes: B windows of a step, S = 15 state fields.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from candor.flow.stage import Output
from candor.ids.config import AverageConfig, MlpConfig
from candor.ids.fusion.policy import Environment, FusionData, Policy, StateScale, reward
from candor.ids.fusion.progress import EpisodeLog
from candor.ids.fusion.states import STATE_FIELDS, FloatArray
from candor.ids.fusion.validation import Validation
from candor.ids.models.blocks import mlp
from candor.learn.checkpoints import seed_everything


class MlpFusion(Policy, StateScale):
    """α = sigmoid(network(state))."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = mlp([len(STATE_FIELDS), *[config.hidden] * config.layers, 1])

    def forward(self, states_BS: Tensor) -> Tensor:
        logit_B: Tensor = self.layers(self.scaled(states_BS))[:, 0]
        return logit_B

    @torch.inference_mode()
    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        states = torch.as_tensor(states_GS, dtype=torch.float32, device=self.mean_S.device)
        alpha: FloatArray = torch.sigmoid(self(states)).double().cpu().numpy()
        return alpha


class AverageFusion(Policy, StateScale):
    """One α for all windows."""

    def __init__(self, config: AverageConfig) -> None:
        super().__init__()
        self.config = config
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, states_BS: Tensor) -> Tensor:
        return self.logit.expand(len(states_BS))

    @torch.inference_mode()
    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        alpha: FloatArray = torch.sigmoid(self.logit).double().cpu().numpy().repeat(len(states_GS))
        return alpha


def train(
    data: FusionData,
    config: MlpConfig | AverageConfig,
    seed: int,
    out: Output,
    validation: Validation | None = None,
) -> MlpFusion | AverageFusion:
    """Adam on balanced batches of windows, some in disguise."""
    seed_everything(seed, 4)
    model = MlpFusion(config) if config.kind == "mlp" else AverageFusion(config)
    model.fit_scale(torch.as_tensor(data.states_GS, dtype=torch.float32))
    environment = Environment(data, config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    told = EpisodeLog(config, out, model, validation)
    for _ in range(told.steps):
        state, gat, vgae, y, _ = environment.draw(config.batch_size)
        alpha = torch.sigmoid(model(state)).double()
        fused = alpha * gat + (1 - alpha) * vgae
        cost = torch.where(y > 0, config.miss_cost, 1.0).double()
        loss = F.binary_cross_entropy(fused.clamp(1e-6, 1 - 1e-6), y, weight=cost)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        gained = reward(fused.detach(), y, config.miss_cost)
        told.step({"reward": float(gained.mean()), "loss": float(loss.detach())})
    return model.eval()
