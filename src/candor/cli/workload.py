"""What the command line needs of a workload; the science stays behind this line, and is imported when it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from candor.config.base import Config

if TYPE_CHECKING:
    from candor.config.settings import Settings
    from candor.flow.plan import TaskSpec
    from candor.flow.stage import Stage


@dataclass(frozen=True)
class Request:
    """What a person asked for: ``candor run EXPERIMENT --dataset NAME --set a.b=c --seed 1,2 --allow FINDING``."""

    experiment: str
    dataset: str
    sets: list[str] = field(default_factory=list)
    seeds: list[int] | None = None
    allow: list[str] = field(default_factory=list)
    #: To be looked at only: files of the data set need not be here. The origin of what they would tell says "unknown: …".
    without_files: bool = False

    @property
    def pipeline(self) -> str:
        """Name of the pipeline, and the first part of its run's name."""
        return f"{self.experiment}-{self.dataset}"


class Workload(Protocol):
    """Turns a request into tasks and knows the stages that run them."""

    def resolve(self, request: Request, settings: Settings) -> tuple[Config, dict[str, str]]:
        """The complete config, and the layer each stated key came from."""

    def plan(self, config: Config) -> Sequence[TaskSpec]:
        """The tasks of that config. Must not import torch."""

    def stages(self) -> Mapping[str, Stage]:
        """Stage functions by name. Only called when a task really runs: it may import anything."""


class IdsWorkload:
    """Intrusion detection."""

    def resolve(self, request: Request, settings: Settings) -> tuple[Config, dict[str, str]]:
        """The experiment's config on that dataset."""
        from candor.ids.experiment import resolve

        return resolve(
            request.experiment,
            request.dataset,
            request.sets,
            request.seeds,
            request.allow,
            settings,
            without_files=request.without_files,
        )

    def plan(self, config: Config) -> Sequence[TaskSpec]:
        """Its tasks."""
        from candor.ids import pipeline
        from candor.ids.config import ExperimentConfig

        assert isinstance(config, ExperimentConfig)  # As resolved above.
        return pipeline.plan(config)

    def stages(self) -> Mapping[str, Stage]:
        """Its stage functions; looking up one that trains or scores models imports torch."""
        from candor.ids.stages import STAGES

        return STAGES
