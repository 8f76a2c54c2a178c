"""Which windows an epoch shows: all attacks, and benign ones from balanced to natural, hard ones more often."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from candor.learn.sampling import BudgetSampler, OverArrays


@dataclass(frozen=True)
class Schedule:
    """``start_ratio`` benign windows per attack window at epoch 0, all of them after ``ramp_epochs``."""

    start_ratio: float
    ramp_epochs: int
    hard_share: float

    def benign_count(self, epoch: int, benign: int, attack: int) -> int:
        """Benign windows of ``epoch``: geometric from ``start_ratio · attack`` to ``benign``."""
        start = min(benign, max(1, math.ceil(self.start_ratio * attack)))
        if epoch >= self.ramp_epochs or attack == 0:
            return benign
        ratio: float = (benign / start) ** (epoch / self.ramp_epochs)
        return round(start * ratio)


def choose(
    schedule: Schedule, y_G: NDArray[np.uint8], hardness_G: NDArray[np.float64], *, epoch: int, seed: int
) -> NDArray[np.int64]:
    """Windows of one epoch, without repetition: every attack, ``benign_count`` benign ones.

    ``hard_share`` of the benign are drawn with probability proportional to the rank of their hardness (a rank, since
    errors have heavy tails and one outlier would take all the probability), the rest uniformly.
    """
    rng = np.random.default_rng([seed, epoch])
    benign, attack = np.flatnonzero(y_G == 0), np.flatnonzero(y_G != 0)
    count = schedule.benign_count(epoch, len(benign), len(attack))
    if count >= len(benign):
        return np.sort(np.concatenate([benign, attack]))
    ranks = np.argsort(np.argsort(hardness_G[benign], kind="stable"), kind="stable") + 1.0
    hard = rng.choice(benign, round(count * schedule.hard_share), replace=False, p=ranks / ranks.sum())
    rest = rng.choice(np.setdiff1d(benign, hard), count - len(hard), replace=False)
    return np.sort(np.concatenate([attack, hard, rest]))


def remine(
    hardness_G: NDArray[np.float64], fresh_G: NDArray[np.float64], y_G: NDArray[np.uint8], momentum: float
) -> NDArray[np.float64]:
    """Hardness of the benign windows after a refresh: ``momentum`` of the old one, the rest of the ``fresh`` one.

    Both as ranks from 0 to 1 among the benign: a VGAE's error and a classifier's probability share no scale. Attacks
    are never drawn by hardness and get 0.
    """
    benign = np.flatnonzero(y_G == 0)
    out = np.zeros(len(y_G))
    top = max(len(benign) - 1, 1)
    old, new = (
        np.argsort(np.argsort(h[benign], kind="stable"), kind="stable") / top for h in (hardness_G, fresh_G)
    )
    out[benign] = momentum * old + (1 - momentum) * new
    return out


class CurriculumSampler(OverArrays):
    """Batches of the epoch's windows under node and edge budgets; follows ``set_epoch``."""

    def __init__(
        self,
        schedule: Schedule,
        y_G: NDArray[np.uint8],
        hardness_G: NDArray[np.float64],
        node_counts: NDArray[np.int64],
        edge_counts: NDArray[np.int64],
        *,
        max_nodes: int,
        max_edges: int,
        seed: int,
        min_steps_per_epoch: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._schedule, self._y, self._hardness = schedule, y_G, hardness_G
        self._counts = (node_counts, edge_counts)
        self._packer = partial(
            BudgetSampler,
            max_nodes=max_nodes,
            max_edges=max_edges,
            shuffle=True,
            seed=seed,
            min_steps_per_epoch=min_steps_per_epoch,
            rank=rank,
            world_size=world_size,
        )
        self._seed = seed
        self.set_epoch(0)

    def set_hardness(self, hardness_G: NDArray[np.float64]) -> None:
        """Choose by these from the next ``set_epoch`` on."""
        self._hardness = hardness_G

    def set_epoch(self, epoch: int) -> None:
        """Choose the windows of ``epoch`` and pack them."""
        self.chosen = choose(self._schedule, self._y, self._hardness, epoch=epoch, seed=self._seed)
        nodes, edges = (counts[self.chosen] for counts in self._counts)
        self._packed = self._packer(nodes, edges)
        self._packed.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._packed)

    def arrays(self) -> Iterator[NDArray[np.int64]]:
        for batch in self._packed.arrays():
            yield self.chosen[batch]
