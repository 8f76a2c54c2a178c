"""What every verb starts from: the roots of this machine and the workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import typer

from candor.cli.workload import Request, Workload
from candor.config.base import Config
from candor.config.settings import Settings

if TYPE_CHECKING:
    from candor.flow.artifact import ArtifactStore
    from candor.flow.plan import Plan


@dataclass(frozen=True)
class Planned:
    """A request turned into a plan."""

    config: Config
    origins: dict[str, str]
    plan: Plan


@dataclass
class Session:
    """The state of one command.

    Attributes:
        argv: the command's arguments as given; kept in ``run.json``.
    """

    workload: Workload
    argv: tuple[str, ...] = ()

    @cached_property
    def settings(self) -> Settings:
        """Roots, from the environment."""
        return Settings.from_env()

    @cached_property
    def store(self) -> ArtifactStore:
        """Artifacts below the cache root."""
        from candor.flow.artifact import ArtifactStore

        return ArtifactStore(self.settings.cache_root)

    def planned(self, request: Request, until: str = "") -> Planned:
        """Resolve and render a request, cut after ``until``."""
        from candor.flow.plan import render

        config, origins = self.workload.resolve(request, self.settings)
        plan = render(request.pipeline, self.workload.plan(config))
        return Planned(config, origins, plan.until(until) if until else plan)

    def earlier_plans(self, plan: Plan, limit: int = 10) -> Iterator[Plan]:
        """Plans of earlier runs of the same pipeline, the latest first; a plan this version cannot read is passed over."""
        from candor.errors import CandorError
        from candor.flow.run import list_runs

        same = [r for r, info in list_runs(self.settings.run_root) if info.pipeline == plan.pipeline]
        for run in [r for r in same if r.id != plan.run_id][:limit]:
            try:
                yield run.plan()
            except CandorError:
                continue


def session(ctx: typer.Context) -> Session:
    """The session of a command."""
    found = ctx.find_object(Session)
    assert found is not None
    return found
