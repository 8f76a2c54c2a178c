"""Arbitration IDs to embedding rows, with a trained unknown slot.

An 11-bit and a 29-bit identifier of the same number are different messages, so everything after ingest names an ID by
its *key*: the number, with bit 29 set for extended (29-bit) identifiers. The key of a standard ID is the ID itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.captures.frames import EXTENDED

EXTENDED_BIT = np.uint32(1 << 29)


def id_key(identifier: npt.NDArray[np.uint32], flags: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """u32 key of each frame: ``id | extended << 29``."""
    extended = (flags & EXTENDED).astype(bool)
    return np.where(extended, identifier | EXTENDED_BIT, identifier).astype(np.uint32)


@dataclass(frozen=True)
class Vocabulary:
    """IDs that the vehicles send in training windows. Index 0 is unknown; the IDs, ascending, follow from 1.

    An ID that only an attacker sends is not part of a vehicle (fuzzing alone would add 2 000): it stays unknown, and
    so trains the unknown slot.

    Attributes:
        ids: u32 keys, ascending, without repeats.
    """

    ids: npt.NDArray[np.uint32]

    @classmethod
    def fit(cls, node_id_N: npt.NDArray[np.uint32], node_y_N: npt.NDArray[np.uint8]) -> Vocabulary:
        """All keys of nodes of training windows that are benign in at least one of them."""
        return cls(np.unique(node_id_N[node_y_N == 0]))

    def __len__(self) -> int:
        """Embedding rows needed, the unknown one included."""
        return len(self.ids) + 1

    def encode(self, node_id_N: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Index of each key, 0 where it was not in training."""
        if not len(self.ids):
            return np.zeros(len(node_id_N), np.int64)
        row = np.minimum(np.searchsorted(self.ids, node_id_N), len(self.ids) - 1)
        return np.where(self.ids[row] == node_id_N, row + 1, 0).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"unknown": 0, "extended_bit": 29, "ids": [int(i) for i in self.ids]}

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Vocabulary:
        return cls(np.asarray(obj["ids"], np.uint32))
