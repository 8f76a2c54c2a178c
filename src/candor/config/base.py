"""The base of every config model, and the marker for fields that do not change a result."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Frozen and strict: an unknown key is an error, a built config never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class _Runtime:
    """Marks a field that says how to run, not what to compute; it stays out of the fingerprint."""


#: ``device: Annotated[str, Runtime] = "auto"`` keeps ``device`` out of every task key.
Runtime = _Runtime()


@dataclass(frozen=True)
class _Later:
    """Marks a science field that came when there were results already: at its default it stays out of the fingerprint."""


#: ``devices: Annotated[int, Later] = 1`` leaves the keys of everything that was computed without it as they are. Its default
#: must be what was done before, and must never change.
Later = _Later()
