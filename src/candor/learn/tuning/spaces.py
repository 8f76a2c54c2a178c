"""Typed search spaces: which config keys vary, over what, and what counts as better."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from candor.config.base import Config
from candor.config.fields import by_kind

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = bool | int | float | str


class Choice(Config):
    """One of several values; a single one is what every trial has."""

    kind: Literal["choice"] = "choice"
    of: Annotated[tuple[Value, ...], Field(min_length=1)]

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.of)


class _Range(Config):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class Uniform(_Range):
    """A real number, each as likely."""

    kind: Literal["uniform"] = "uniform"

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high)


class LogUniform(_Range):
    """A positive real number, each order of magnitude as likely."""

    kind: Literal["loguniform"] = "loguniform"
    low: Annotated[float, Field(gt=0)]

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=True)


class Integer(Config):
    """A whole number from ``low`` to ``high``, both included; ``log``: each order of magnitude as likely."""

    kind: Literal["integer"] = "integer"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low < 1):
            raise ValueError(f"no whole numbers from {self.low} to {self.high}" + " by logarithm" * self.log)
        return self

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)


Parameter = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[Integer, Tag("integer")],
    by_kind("parameter_kind", "choice", "uniform", "loguniform", "integer"),
]


class Space(Config):
    """``presets/spaces/<model>.yaml``.

    Attributes:
        stage: the stage whose metric counts; a trial runs up to it and no further: nothing is scored on a test capture.
        metric, mode: a metric that the stage logs for every epoch (or step) on validation data, and which way is better.
        keeps: the epoch whose weights the stage keeps, and so whose value of the metric is the trial's.
        parameters: config key below a variant (``gat.hidden``, ``training.max_nodes``) → its values.
    """

    stage: str
    metric: str
    mode: Literal["min", "max"] = "min"
    keeps: Literal["best", "last"] = "best"
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]

    @property
    def worst(self) -> float:
        """Worse than any value."""
        return math.inf if self.mode == "min" else -math.inf

    def better(self, a: float, b: float) -> bool:
        """True if ``a`` is better than ``b``."""
        return a < b if self.mode == "min" else a > b

    def kept(self, values: Sequence[float]) -> float | None:
        """A trial's value by those of its epochs; None without any."""
        if not values or self.keeps == "last":
            return values[-1] if values else None
        return functools.reduce(lambda best, value: value if self.better(value, best) else best, values)

    def distributions(self) -> dict[str, BaseDistribution]:
        """All parameters, as Optuna knows them."""
        return {name: parameter.distribution() for name, parameter in self.parameters.items()}
