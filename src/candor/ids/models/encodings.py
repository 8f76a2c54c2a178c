"""How a model tells arbitration IDs apart: by a table of its own, by shared hashed vectors, or not at all.

Shapes: N nodes, V vocabulary slots, W width, P probes, B buckets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from candor.ids.config import HashIds, IdEncoding

#: Of Knuth's multiplicative hashing; its odd powers mod 2^32 are the multipliers, one for each table looked into.
_GOLDEN = 2654435761
_MASK = (1 << 32) - 1


class LookupEncoding(nn.Module):
    """A vector per slot of the vocabulary; slot 0, unknown, is trained by the IDs that training hides."""

    def __init__(self, num_slots: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_slots, width)
        self.width = width

    def forward(self, node_id_N: Tensor, slot_N: Tensor, hidden_N: Tensor) -> Tensor:
        vector_NW: Tensor = self.table(slot_N)
        return vector_NW


class HashEncoding(nn.Module):
    """Hash embeddings (arXiv:1709.03933, eq. 2): Σ over probes of importance(ID) · vector[hash(ID)].

    Importances come from a hashed table four times as long, so that two IDs that share all vectors may still differ.
    """

    multiplier_P: Tensor

    def __init__(self, config: HashIds) -> None:
        super().__init__()
        self.width, self._buckets = config.width, config.buckets
        self.vectors = nn.Embedding(config.buckets, config.width)
        self.importance = nn.Embedding(4 * config.buckets, config.probes)
        self.unknown = nn.Parameter(torch.randn(config.width))
        nn.init.normal_(self.importance.weight, mean=1.0, std=0.1)
        multipliers = [pow(_GOLDEN, 2 * i + 1, 1 << 32) for i in range(config.probes + 1)]
        self.register_buffer("multiplier_P", torch.tensor(multipliers, dtype=torch.int64), persistent=False)

    def forward(self, node_id_N: Tensor, slot_N: Tensor, hidden_N: Tensor) -> Tensor:
        mixed_NP = self._mix(node_id_N)
        importance_NP = self.importance(mixed_NP[:, -1] % self.importance.num_embeddings)
        vector_NPW = self.vectors(mixed_NP[:, :-1] % self._buckets)
        vector_NW = (importance_NP[:, :, None] * vector_NPW).sum(1)
        return torch.where(hidden_N[:, None], self.unknown, vector_NW)

    def _mix(self, node_id_N: Tensor) -> Tensor:
        """32 bits per probe. The upper half of the product is folded in: its lower bits depend on lower bits only."""
        product_NP = (node_id_N[:, None] * self.multiplier_P) & _MASK
        return product_NP ^ (product_NP >> 15)


class NoEncoding(nn.Module):
    """Nothing is said of the ID."""

    width = 0

    def forward(self, node_id_N: Tensor, slot_N: Tensor, hidden_N: Tensor) -> Tensor:
        return slot_N.new_zeros((len(slot_N), 0), dtype=torch.float32)


def encoding(config: IdEncoding, num_slots: int) -> LookupEncoding | HashEncoding | NoEncoding:
    """The configured encoding. Its call takes ID keys, slots and which nodes are hidden; ``[N, width]``."""
    match config.kind:
        case "lookup":
            return LookupEncoding(num_slots, config.width)
        case "hash":
            return HashEncoding(config)
        case "none":
            return NoEncoding()
