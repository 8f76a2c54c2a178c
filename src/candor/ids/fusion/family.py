"""The fusion policies by ``kind``: how each is trained, and how each is read back."""

from __future__ import annotations

from candor.flow.stage import Output
from candor.ids.config import FusionConfig
from candor.ids.fusion import dqn, gradient, linucb, rules
from candor.ids.fusion.policy import FusionData, Policy
from candor.ids.fusion.validation import Validation


def train(
    data: FusionData, config: FusionConfig, seed: int, out: Output, validation: Validation | None = None
) -> Policy:
    """Train the configured policy on the training windows; every episode's reward is recorded.

    With ``validation``, so is what the policy as it then stands earns there, as ``val_reward``. Nothing is chosen by it:
    the policy of the last episode is the one that is kept.
    """
    match config.kind:
        case "dqn":
            return dqn.train(data, config, seed, out, validation)
        case "linucb":
            return linucb.train(data, config, seed, out, validation)
        case "mlp" | "average":
            return gradient.train(data, config, seed, out, validation)
        case "or":
            return rules.train(data, config, seed, out, validation)


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
