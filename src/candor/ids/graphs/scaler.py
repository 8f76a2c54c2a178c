"""Standardisation of node and edge features, fitted on benign training windows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.features import Feature

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """``(value − mean) / std`` per column; the std never below the feature table's ``std_floor``.

    A column that is constant over benign traffic is listed and divided by its floor too. It may well be the column
    that only attacks move (``early_share`` is 0 in every benign window of a quiet bus), and must not weigh less than
    one that a single odd benign frame made "not constant". Columns without rows to fit on stay as they are.

    Attributes:
        mean, std: f64[D].
        constant: names of the columns that had no variance.
        count: rows fitted on.
    """

    mean: F64
    std: F64
    constant: tuple[str, ...]
    count: int

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "constant": list(self.constant),
            "count": self.count,
        }

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> Scaler:
        return cls(np.asarray(obj["mean"]), np.asarray(obj["std"]), tuple(obj["constant"]), int(obj["count"]))


class Moments:
    """Running count, mean and sum of squares of columns, merged block by block (Chan, Golub, LeVeque 1983).

    Sums of squares over millions of rows cancel; merging block means does not.
    """

    def __init__(self, num_columns: int) -> None:
        self.count = 0
        self.mean = np.zeros(num_columns)
        self.squares = np.zeros(num_columns)

    def add(self, x_ND: npt.NDArray[np.floating[Any]]) -> None:
        """Add the rows of ``x_ND``."""
        if len(x_ND):
            self.merge(self.of(x_ND))

    @classmethod
    def of(cls, x_ND: npt.NDArray[np.floating[Any]]) -> Moments:
        """The moments of one block of rows."""
        block = cls(x_ND.shape[1])
        if len(x_ND):
            x = x_ND.astype(np.float64)
            block.count, block.mean = len(x), x.mean(axis=0)
            block.squares = ((x - block.mean) ** 2).sum(axis=0)
        return block

    def merge(self, block: Moments) -> None:
        """Add the rows of ``block``. Rounding depends on the order of blocks, so keep to the order of captures."""
        if not block.count:
            return
        total = self.count + block.count
        delta = block.mean - self.mean
        self.mean = self.mean + delta * (block.count / total)
        self.squares = self.squares + block.squares + delta**2 * (self.count * block.count / total)
        self.count = total

    def scaler(self, features: Sequence[Feature]) -> Scaler:
        """The scaler of the rows added so far; identity if there were none."""
        if not self.count:
            return Scaler(self.mean, np.ones(len(features)), tuple(f.name for f in features), 0)
        std = np.sqrt(self.squares / self.count)
        # Below float32 resolution of the values themselves a spread is rounding, not variance.
        constant = std <= 1e-6 * np.maximum(np.abs(self.mean), 1e-3)
        floor = np.array([f.std_floor for f in features])
        names = tuple(f.name for f, c in zip(features, constant, strict=True) if c)
        return Scaler(self.mean, np.maximum(std, floor), names, self.count)
