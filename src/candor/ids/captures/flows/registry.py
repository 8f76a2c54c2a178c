"""Flow captures of a dataset preset, and where their files lie on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from candor.config.base import Config

#: What follows a file's name in a preset: Zeek writes its log into a folder.
SUFFIXES: Final = (
    *("", ".csv", ".parquet", ".csv.gz", ".binetflow", ".binetflow.gz", ".log.labeled"),
    *("/conn.log.labeled", "/bro/conn.log.labeled"),
)


class FileChoice(Config):
    """Files without suffix that together make a capture; ``sampled``: see FlowSource."""

    names: tuple[str, ...]
    sampled: bool = False


class FlowCapture(Config):
    """One capture of a flow dataset preset.

    Attributes:
        files: alternatives; the first of which every file is there is used.
        between, part: see FlowSource.
    """

    capture: str
    files: tuple[FileChoice, ...]
    split: Literal["train", "test"]
    scenario: str = ""
    vehicle: str
    base_capture: str = ""
    attack: str = ""
    between: tuple[str, str] | None = None
    part: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Located:
    """The files of a capture, in order: what the preset calls each, and where it lies."""

    files: tuple[tuple[str, Path], ...]
    sampled: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self.files)


def locate_flows(capture: FlowCapture, folders: Sequence[Path]) -> Located | None:
    """The first complete alternative; None if none is complete."""
    for choice in capture.files:
        found = [(name, path) for name in choice.names if (path := find_flows(name, folders)) is not None]
        if len(found) == len(choice.names):
            return Located(tuple(found), choice.sampled)
    return None


def find_flows(stem: str, folders: Sequence[Path]) -> Path | None:
    """``<folder>/<stem>`` with any suffix of a flow file, in the first folder that has it."""
    for folder in folders:
        for suffix in SUFFIXES:
            path = folder / (stem + suffix)
            if path.is_file():
                return path
    return None


def flow_source(capture: FlowCapture, located: Located, digest: Callable[[Path], str]) -> dict[str, Any]:
    """The capture as fields of a FlowSource."""
    stated = capture.model_dump(exclude={"files"})
    stated["base_capture"] = capture.base_capture or capture.capture
    files = [{"path": str(p.resolve()), "sha256": digest(p)} for p in located.paths]
    return {**stated, "sampled": located.sampled, "files": files}
