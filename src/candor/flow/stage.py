"""What a stage is: a plain function ``stage(config, inputs, out) -> Result`` that knows nothing of who runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from candor.errors import ArtifactMissing
from candor.flow.workers import LocalWorkers, Workers

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Recorder(Protocol):
    """Receives the metrics of a stage while it runs. Kept across attempts, published with the artifact."""

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        """Append one row of scalar metrics; ``kind`` names the clock (epoch, step, episode)."""

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        """Forget rows of ``kind`` at or after ``step``: a resumed stage writes them again."""


class Progress(Protocol):
    """Tells the person who waits how far a stage is."""

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


@dataclass(frozen=True)
class Inputs:
    """Published artifacts that a stage reads, by input name (verified before the stage starts)."""

    paths: Mapping[str, Path]

    def path(self, name: str) -> Path:
        """Folder of the input ``name``. Raises ArtifactMissing if the task declares no such input."""
        try:
            return self.paths[name]
        except KeyError:
            raise ArtifactMissing(
                f"no input named '{name}'", hint=f"Declared inputs: {', '.join(sorted(self.paths)) or 'none'}"
            ) from None

    def group(self, prefix: str) -> dict[str, Path]:
        """All inputs named ``prefix.SUFFIX``, keyed by suffix, in declaration order."""
        start = prefix + "."
        return {name[len(start) :]: path for name, path in self.paths.items() if name.startswith(start)}


@dataclass(frozen=True)
class Output:
    """Where a stage may write.

    Attributes:
        path: becomes the artifact when the stage returns; empty at the start of every attempt.
        scratch: survives attempts (checkpoints live here), is never published, removed after success.
        recorder: metrics sink.
        progress: progress sink.
        workers: does the parts of the stage in parallel; who runs the stage knows where.
    """

    path: Path
    scratch: Path
    recorder: Recorder
    progress: Progress
    workers: Workers = field(default_factory=LocalWorkers)


@dataclass(frozen=True)
class Result:
    """What a stage says of itself; ``summary`` lands in the artifact's ``record.json`` and in ``candor status``."""

    summary: dict[str, Json] = field(default_factory=dict)


Stage = Callable[[Any, Inputs, Output], Result]


class LazyStages(Mapping[str, Stage]):
    """Stages that are loaded when one is first looked up.

    Loading imports torch, which takes seconds; an attempt that is killed meanwhile must already have its record.
    """

    def __init__(self, load: Callable[[], Mapping[str, Stage]]) -> None:
        self._load = load

    @cached_property
    def _stages(self) -> Mapping[str, Stage]:
        return self._load()

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def __contains__(self, name: object) -> bool:
        return name in self._stages

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)


class GroupedStages(Mapping[str, Stage]):
    """Stages in groups, each of which is loaded when one of its stages is first looked up.

    A task that reads captures then neither waits seconds for torch nor holds hundreds of megabytes for it.
    """

    def __init__(self, groups: Mapping[tuple[str, ...], Callable[[], Mapping[str, Stage]]]) -> None:
        """``groups``: names of stages → what loads them."""
        self._load = {name: load for names, load in groups.items() for name in names}

    def __getitem__(self, name: str) -> Stage:
        return self._load[name]()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._load

    def __iter__(self) -> Iterator[str]:
        return iter(self._load)

    def __len__(self) -> int:
        return len(self._load)
