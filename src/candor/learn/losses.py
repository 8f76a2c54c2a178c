"""Losses of a two-class classifier. Shapes: G graphs, C = 2 classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted_cross_entropy(logits_GC: Tensor, y_G: Tensor, attack_weight: float) -> Tensor:
    """Cross-entropy, an attack counted ``attack_weight`` times; a mean over the weights, so its size stays; scalar."""
    weight_C = torch.tensor([1.0, attack_weight], dtype=logits_GC.dtype, device=logits_GC.device)
    return F.cross_entropy(logits_GC, y_G.long(), weight=weight_C)


def focal(logits_GC: Tensor, y_G: Tensor, gamma: float, alpha: float) -> Tensor:
    """−α_t (1 − p_t)^γ ln p_t (Lin et al. 2017, arXiv:1708.02002, eq. 5), mean over graphs; scalar.

    ``alpha`` is the weight of attacks, 1 − alpha that of benign graphs. Logarithms, or a sure p_t would round to 1.
    """
    log_G = F.log_softmax(logits_GC.float(), dim=-1).gather(1, y_G.long()[:, None])[:, 0]
    weight_G = torch.where(y_G > 0, alpha, 1 - alpha)
    # The slope of a power below 1 is infinite at 0, where a sure window lands.
    return -(weight_G * (-torch.expm1(log_G)).clamp(min=1e-12) ** gamma * log_G).mean()
