"""The fusion policies by ``kind``: how each is trained, and how each is read back."""

from __future__ import annotations

from candor.flow.stage import Output
from candor.ids.config import FusionConfig
from candor.ids.fusion import dqn, gradient, linucb, rules
from candor.ids.fusion.policy import FusionData, Policy


def train(data: FusionData, config: FusionConfig, seed: int, out: Output) -> Policy:
    """Train the configured policy on the training windows; every episode's reward is recorded."""
    match config.kind:
        case "dqn":
            return dqn.train(data, config, seed, out)
        case "linucb":
            return linucb.train(data, config, seed, out)
        case "mlp" | "average":
            return gradient.train(data, config, seed, out)
        case "or":
            return rules.train(data, config, seed, out)


def untrained(config: FusionConfig) -> Policy:
    """The configured policy as it is before training, to load weights into."""
    match config.kind:
        case "dqn":
            return dqn.DqnFusion(config)
        case "linucb":
            return linucb.LinUcbFusion(config)
        case "mlp":
            return gradient.MlpFusion(config)
        case "average":
            return gradient.AverageFusion(config)
        case "or":
            return rules.OrFusion(config)
