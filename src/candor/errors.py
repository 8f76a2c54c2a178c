"""Every error Candor raises on purpose. Each states a fact, the place, and the next step.

CandorError                     exit code
├── ConfigError                 2   a config key, value or preset is wrong
│   ├── UnknownKey                  a key no model has; names the nearest valid one
│   └── PresetNotFound              no such dataset, model scale or experiment
├── DataError                   3   input data cannot be used
│   ├── SourceMissing               a file or folder that should be there is not
│   ├── CaptureUnreadable           the file cannot be opened or decoded
│   ├── CaptureRejected             the file was read, and most of it is malformed, or it holds no frame
│   └── SchemaMismatch              columns or types differ from the schema
├── AuditFailed                 4   the splits leak; results would not be honest
├── ArtifactError               5   a published artifact cannot be used
│   ├── ArtifactMissing
│   └── ArtifactCorrupted           a digest does not match its manifest
├── StageFailed                 6   a task of a run failed; its record says why
├── StorageFull                 7   no space left while writing
├── ExtraMissing                8   a verb needs an optional dependency
├── NotFound                    9   no such run, task or capture
├── SchedulerError              10  the cluster's scheduler refused, or does not answer
├── RayUnavailable              11  Ray does not start, cannot be reached, or refuses the token
├── TrackingUnavailable        12   a tracking service did not take what it was sent; nothing is lost
└── SyncFailed                 13   rsync did not come to its end; the same command goes on
"""

from __future__ import annotations


class CandorError(Exception):
    """A fact, the place where it holds, and the next step.

    Args:
        fact: what is wrong, with the offending value.
        place: file, config key or task where it was seen.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, fact: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(fact)
        self.fact, self.place, self.hint = fact, place, hint

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"{self.fact}{where}." + (f" {self.hint}" if self.hint else "")


class ConfigError(CandorError):
    exit_code = 2


class UnknownKey(ConfigError):
    """A key no config model has."""


class PresetNotFound(ConfigError):
    """No preset of that name."""


class DataError(CandorError):
    exit_code = 3


class SourceMissing(DataError):
    """A file or folder that should be there is not."""


class CaptureUnreadable(DataError):
    """The file cannot be opened or decoded."""


class CaptureRejected(DataError):
    """The file was read, but most of it is malformed, or it holds no usable frame."""


class SchemaMismatch(DataError):
    """Columns or types differ from the declared schema."""


class AuditFailed(CandorError):
    """The splits leak: results would not be honest."""

    exit_code = 4


class ArtifactError(CandorError):
    exit_code = 5


class ArtifactMissing(ArtifactError):
    """The artifact was never published, or was removed."""


class ArtifactCorrupted(ArtifactError):
    """A file of the artifact does not match its manifest."""


class StageFailed(CandorError):
    """A task failed; its attempt record keeps the reason, traceback and partial metrics."""

    exit_code = 6


class StorageFull(CandorError):
    """No space left on the device while writing."""

    exit_code = 7


class ExtraMissing(CandorError):
    """A verb needs an optional dependency."""

    exit_code = 8


class NotFound(CandorError):
    """No such run, task or capture."""

    exit_code = 9


class SchedulerError(CandorError):
    """The cluster's scheduler refused a request, or does not answer."""

    exit_code = 10


class RayUnavailable(CandorError):
    """Ray does not start, cannot be reached, or refuses the token."""

    exit_code = 11


class TrackingUnavailable(CandorError):
    """A tracking service is away, refuses the key or does not answer. Never stops a training."""

    exit_code = 12


class SyncFailed(CandorError):
    """Files did not all reach another machine, or come from there; what arrived stays."""

    exit_code = 13
