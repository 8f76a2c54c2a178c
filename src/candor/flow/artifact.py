"""Published outputs of tasks: a folder of files and, written last, the manifest ``record.json``.

Layout below the cache root::

    artifacts/<stage>/<key>/   whole or absent
    staging/<key>/             being written; emptied at the start of every attempt
    scratch/<stage>/<key>/     survives attempts (checkpoints, metrics so far); removed after success
    locks/<key>.lock           one builder per key
    corrupted/                 artifacts that no longer matched their manifest
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from candor.config.base import Config
from candor.errors import ArtifactCorrupted, ArtifactMissing
from candor.flow.locks import is_free, key_lock
from candor.flow.storage import files_below, fsync_path, fsync_tree, sha256_file, write_atomic

RECORD = "record.json"
SCHEMA_VERSION = 1


class FileEntry(Config):
    """One file of an artifact; size in bytes."""

    size: int
    sha256: str


class ArtifactRecord(Config):
    """``record.json``: what the artifact is, what it was made from, and a digest of every file."""

    schema_version: int = SCHEMA_VERSION
    key: str
    stage: str
    version: int
    science: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, FileEntry]
    summary: dict[str, Any]
    code_version: str
    created: str
    duration_s: float


@dataclass(frozen=True)
class Artifact:
    """A published artifact; ``path`` is its folder."""

    path: Path
    record: ArtifactRecord


State = Literal["published", "missing", "corrupted"]


@dataclass
class ArtifactStore:
    """All artifacts below one cache root."""

    cache_root: Path
    _verified: dict[Path, tuple[int, int]] = field(default_factory=dict, repr=False)

    def path(self, stage: str, key: str) -> Path:
        """Folder of the artifact, published or not."""
        return self.cache_root / "artifacts" / stage / key

    def scratch(self, stage: str, key: str) -> Path:
        """Folder that survives attempts; made if missing."""
        return _made(self.scratch_path(stage, key))

    def scratch_path(self, stage: str, key: str) -> Path:
        """Where ``scratch`` lies, made or not."""
        return self.cache_root / "scratch" / stage / key

    def lock(self, key: str, *, on_wait: Callable[[str], None] | None = None) -> AbstractContextManager[None]:
        """Be the only builder of ``key``; waits for another one. Look for the artifact again once inside."""
        return key_lock(self.cache_root / "locks" / f"{key}.lock", on_wait=on_wait)

    def staging(self, key: str) -> Path:
        """A fresh, empty folder to write the artifact into. Only while holding ``lock(key)``."""
        path = self.cache_root / "staging" / key
        if path.exists():
            shutil.rmtree(path)
        return _made(path)

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact if it was published, without reading its files; None otherwise. For reading, use ``open``."""
        path = self.path(stage, key)
        try:
            return Artifact(path, _read_record(path))
        except (ArtifactMissing, ArtifactCorrupted):
            return None

    def open(self, stage: str, key: str, *, verify: bool = True) -> Artifact:
        """The artifact, every file compared with its digest (once per process and file state).

        Raises:
            ArtifactMissing: it was never published, or was removed.
            ArtifactCorrupted: a file is missing or differs from its manifest, or the manifest is unreadable.
        """
        path = self.path(stage, key)
        artifact = Artifact(path, _read_record(path))
        for name, entry in artifact.record.files.items():
            self._check(path / name, entry, deep=verify)
        return artifact

    def inspect(self, stage: str, key: str, *, verify: bool = False) -> tuple[State, str]:
        """State of an artifact and, if corrupted, why. ``verify=False`` compares sizes only."""
        try:
            self.open(stage, key, verify=verify)
        except ArtifactMissing:
            return "missing", ""
        except ArtifactCorrupted as e:
            return "corrupted", e.fact
        return "published", ""

    def _check(self, path: Path, entry: FileEntry, *, deep: bool) -> None:
        try:
            stat = path.stat()
        except OSError as e:
            raise _corrupted(path, f"'{path.name}' is missing") from e
        if stat.st_size != entry.size:
            raise _corrupted(path, f"'{path.name}' has {stat.st_size} bytes instead of {entry.size}")
        seen = (stat.st_size, stat.st_mtime_ns)
        if deep and self._verified.get(path) != seen:
            if sha256_file(path) != entry.sha256:
                raise _corrupted(path, f"the content of '{path.name}' changed after it was published")
            self._verified[path] = seen

    def quarantine(self, stage: str, key: str) -> Path | None:
        """Move an artifact aside to ``corrupted/``; its new folder, or None if there was nothing."""
        path = self.path(stage, key)
        aside = _made(self.cache_root / "corrupted") / f"{stage}-{key[:12]}-{time.time_ns()}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
        return aside

    def publish(
        self,
        staging: Path,
        *,
        key: str,
        stage: str,
        version: int,
        science: dict[str, Any],
        inputs: dict[str, str],
        summary: dict[str, Any],
        code_version: str,
        duration_s: float,
    ) -> Artifact:
        """Make ``staging`` the artifact: files to disk, manifest last, one rename.

        Args:
            staging: folder from ``staging(key)``.
            inputs: input name → key of the artifact read.
            duration_s: how long the stage took.
        """
        fsync_tree(staging)
        files: dict[str, FileEntry] = {}
        for file in files_below(staging):
            name = file.relative_to(staging).as_posix()
            files[name] = FileEntry(size=file.stat().st_size, sha256=sha256_file(file))
        record = ArtifactRecord(
            key=key,
            stage=stage,
            version=version,
            science=science,
            inputs=inputs,
            files=files,
            summary=summary,
            code_version=code_version,
            created=datetime.now(UTC).isoformat(),
            duration_s=duration_s,
        )
        write_atomic(staging / RECORD, record.model_dump_json(indent=2))
        target = self.path(stage, key)
        _made(target.parent)
        if target.exists():
            self.quarantine(stage, key)
        staging.rename(target)
        fsync_path(target.parent)
        return Artifact(target, record)

    def discard(self, staging: Path) -> None:
        """Remove what an attempt wrote and did not publish."""
        shutil.rmtree(staging, ignore_errors=True)

    def drop_scratch(self, stage: str, key: str) -> None:
        """Remove the scratch of a task that is published."""
        shutil.rmtree(self.scratch_path(stage, key), ignore_errors=True)

    def sweep(self) -> list[str]:
        """Remove staging folders whose builder died; the keys removed."""
        staging = self.cache_root / "staging"
        removed = []
        for path in sorted(staging.iterdir()) if staging.is_dir() else []:
            lock = self.cache_root / "locks" / f"{path.name}.lock"
            if is_free(lock):
                with key_lock(lock):
                    shutil.rmtree(path, ignore_errors=True)
                removed.append(path.name)
        return removed


def _made(path: Path) -> Path:
    os.makedirs(path, exist_ok=True)
    return path


def _read_record(path: Path) -> ArtifactRecord:
    try:
        return ArtifactRecord.model_validate_json((path / RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as e:
        if path.is_dir():
            raise _corrupted(path / RECORD, "the manifest is gone") from e
        raise ArtifactMissing(
            f"no artifact of stage '{path.parent.name}' with key {path.name[:12]}",
            place=str(path),
            hint="Run the same `candor run` again to rebuild it.",
        ) from e
    except (ValidationError, UnicodeDecodeError) as e:
        raise _corrupted(path / RECORD, "the manifest is unreadable") from e


def _corrupted(path: Path, fact: str) -> ArtifactCorrupted:
    return ArtifactCorrupted(
        fact, place=str(path), hint="`candor run` moves the artifact aside and rebuilds it."
    )
