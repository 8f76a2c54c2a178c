"""Fusion without learning: whoever is surer of an attack decides."""

from __future__ import annotations

import numpy as np
import torch

from candor.flow.stage import Output
from candor.ids.config import OrConfig
from candor.ids.fusion.policy import Environment, FusionData, Policy, reward
from candor.ids.fusion.states import FloatArray
from candor.ids.fusion.validation import VAL_REWARD, Validation
from candor.learn.checkpoints import seed_everything

#: Windows on which the rule's reward is told, beside those of learned policies.
_TOLD = 4096


class OrFusion(Policy):
    """The larger of both probabilities, so that at any threshold an alarm of either is an alarm."""

    def __init__(self, config: OrConfig) -> None:
        super().__init__()
        self.config = config

    def weight(self, states_GS: FloatArray, gat_G: FloatArray, vgae_G: FloatArray) -> FloatArray:
        return (np.asarray(gat_G) >= np.asarray(vgae_G)).astype(np.float64)


def train(
    data: FusionData, config: OrConfig, seed: int, out: Output, validation: Validation | None = None
) -> OrFusion:
    """Nothing is learned; the rewards that the rule earns are recorded as the only episode."""
    seed_everything(seed, 5)
    _, gat, vgae, y, _ = Environment(data, config).draw(_TOLD)
    policy = OrFusion(config)
    told = {"reward": float(reward(torch.maximum(gat, vgae), y, config.miss_cost).mean())}
    if validation is not None:
        told[VAL_REWARD] = validation.reward(policy)
    out.recorder.rewind(0, kind="episode")
    out.recorder.log(0, told, kind="episode")
    return policy.eval()
