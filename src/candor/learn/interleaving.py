"""One stream of batches out of several loaders, for a model that learns from several domains at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from candor.learn.batching import GraphBatch
from candor.learn.loading import GraphLoader


@dataclass(frozen=True)
class DomainBatch:
    """A batch of one domain."""

    domain: str
    graphs: GraphBatch

    def to(self, device: torch.device | str, non_blocking: bool = False) -> DomainBatch:
        """The same on a device."""
        return DomainBatch(self.domain, self.graphs.to(device, non_blocking=non_blocking))


class InterleavedLoader:
    """Every batch of every loader once an epoch, in an order drawn from seed and epoch; else one loader after the other."""

    def __init__(self, loaders: Mapping[str, GraphLoader], *, shuffle: bool, seed: int) -> None:
        self._loaders, self._shuffle, self._seed, self._epoch = dict(loaders), shuffle, seed, 0

    @property
    def pin_memory(self) -> bool:
        """Whether batches are gathered into pinned memory."""
        return any(loader.pin_memory for loader in self._loaders.values())

    @pin_memory.setter
    def pin_memory(self, pinned: bool) -> None:
        for loader in self._loaders.values():
            loader.pin_memory = pinned

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``epoch``, in each loader and between them."""
        self._epoch = epoch
        for loader in self._loaders.values():
            loader.set_epoch(epoch)

    def __len__(self) -> int:
        return sum(map(len, self._loaders.values()))

    def __iter__(self) -> Iterator[DomainBatch]:
        names = np.repeat(list(self._loaders), [len(loader) for loader in self._loaders.values()])
        if self._shuffle:
            names = np.random.default_rng([self._seed, self._epoch]).permutation(names)
        batches = {name: iter(loader) for name, loader in self._loaders.items()}
        for name in names.tolist():
            yield DomainBatch(name, next(batches[name]))
