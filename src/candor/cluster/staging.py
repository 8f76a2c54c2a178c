"""Brings what a task reads closer to it: data root → scratch → ``$TMPDIR``, with checksums, and only what changed.

``scratch``: raw files are copied below the cache root once for all jobs, ``<cache root>/staged/data``.
``tmpdir``: those copies and the task's input artifacts are copied to the node's own disk as well.

A copy is whole or absent (written beside, renamed), and is read back before it counts. ``staged.json`` beside the copies
remembers digest, size and times; a file whose source and copy both look as they did then is not copied again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candor.errors import ArtifactCorrupted, DataError
from candor.flow.artifact import RECORD, Artifact
from candor.flow.locks import key_lock
from candor.flow.storage import files_below, sha256_file, storage_full

log = logging.getLogger(__name__)

NOTES, _LOCK = "staged.json", ".staged.lock"
_CHUNK_BYTES = 1 << 20


@dataclass
class Staged:
    """What was done: relative paths; ``copied_bytes`` of those copied."""

    copied: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    copied_bytes: int = 0


@dataclass(frozen=True)
class Tree:
    """Copies of files of one folder, below another one; several jobs may share it."""

    source: Path
    target: Path

    def bring(self, files: Iterable[Path], known: Mapping[str, str] | None = None) -> Staged:
        """Copy those of ``files`` (below source) that are missing or changed.

        Args:
            known: relative path → SHA-256 that the content must have.

        Raises:
            DataError: a file changed while it was copied, or its copy reads differently.
            ArtifactCorrupted: a file is not what ``known`` says.
            StorageFull: no space left.
        """
        done = Staged()
        self.target.mkdir(parents=True, exist_ok=True)
        with key_lock(self.target / _LOCK):
            notes = self._notes()
            try:
                for path in files:
                    name = path.relative_to(self.source).as_posix()
                    if self._is_current(path, name, notes, known):
                        done.kept.append(name)
                        continue
                    notes[name] = self._copy(path, name, known)
                    done.copied.append(name)
                    done.copied_bytes += path.stat().st_size
            except OSError as e:
                raise storage_full(e, self.target) or e from e
            finally:
                if done.copied:
                    self._write_notes(notes)
        return done

    def _is_current(
        self, path: Path, name: str, notes: Mapping[str, Any], known: Mapping[str, str] | None
    ) -> bool:
        note = notes.get(name)
        if note is None or (known is not None and known.get(name) != note["sha256"]):
            return False
        try:
            # A purged scratch disk takes copies away, and someone may have touched one.
            return bool([*_look(path), *_look(self.target / name)] == note["looks"])
        except OSError:
            return False

    def _copy(self, path: Path, name: str, known: Mapping[str, str] | None) -> dict[str, Any]:
        target = self.target / name
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{os.getpid()}.new")
        before, digest = _look(path), hashlib.sha256()
        try:
            with path.open("rb") as source, new.open("wb") as copy:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
                copy.flush()
                os.fsync(copy.fileno())
            if _look(path) != before:
                raise DataError("a file changed while it was copied", place=str(path), hint="Try again.")
            if known is not None and known.get(name) != digest.hexdigest():
                raise ArtifactCorrupted(
                    f"the content of '{name}' changed after it was published", place=str(path)
                )
            if sha256_file(new) != digest.hexdigest():
                raise DataError(
                    "a copy reads differently from its source", place=str(new), hint="Is that disk sound?"
                )
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
        return {"sha256": digest.hexdigest(), "looks": [*before, *_look(target)]}

    def _notes(self) -> dict[str, Any]:
        try:
            found = json.loads((self.target / NOTES).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_notes(self, notes: Mapping[str, Any]) -> None:
        # Not forced to the disk, and written even when it is full: without notes, files are merely copied again.
        new = self.target / f".{NOTES}.{os.getpid()}.new"
        try:
            new.write_text(json.dumps(notes, indent=1), encoding="utf-8")
            new.replace(self.target / NOTES)
        except OSError as e:
            log.warning("could not note what was staged: %s", e)
            new.unlink(missing_ok=True)


def _look(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


@dataclass(frozen=True)
class StageIn:
    """What ``run_task`` asks before a stage is called.

    Attributes:
        local: folder on the node's own disk; None to stop at scratch.
    """

    data_root: Path
    cache_root: Path
    local: Path | None = None

    @property
    def shared(self) -> Path:
        """Copies of raw files that all jobs share."""
        return self.cache_root / "staged" / "data"

    def data(self, files: Iterable[Path]) -> tuple[Path, Staged]:
        """Copy files of the data root: where their folder begins now, and what was done."""
        files = list(files)
        done = Tree(self.data_root, self.shared).bring(files)
        if self.local is None:
            return self.shared, done
        near = self.local / "data"
        if not _fits(near, [self.shared / f.relative_to(self.data_root) for f in files]):
            return self.shared, done
        more = Tree(self.shared, near).bring(self.shared / f.relative_to(self.data_root) for f in files)
        return near, Staged(
            done.copied + more.copied, done.kept + more.kept, done.copied_bytes + more.copied_bytes
        )

    def config(self, values: Any) -> Any:
        """A task's config in which files of the data root are named where their copies lie."""
        found = sorted({path for text in _texts(values) if (path := self._file(text))})
        if not found:
            return values
        place, done = self.data(found)
        log.info("staged %d files (%d bytes) to %s; %d were there", *_told(done), place, len(done.kept))
        return _moved(values, {str(p): str(place / p.relative_to(self.data_root)) for p in found})

    def artifact(self, artifact: Artifact) -> Path | None:
        """Folder of the copy of an input, every file as its manifest says; None if there is none."""
        if self.local is None:
            return None
        target = self.local / "artifacts" / artifact.record.stage / artifact.record.key
        names = list(artifact.record.files)
        if not _fits(target, [artifact.path / name for name in names]):
            return None
        known = {name: entry.sha256 for name, entry in artifact.record.files.items()}
        done = Tree(artifact.path, target).bring((artifact.path / name for name in names), known)
        shutil.copyfile(artifact.path / RECORD, target / RECORD)
        log.info("staged %d files (%d bytes) of %s to %s", *_told(done), artifact.record.stage, target)
        return target

    def _file(self, text: str) -> Path | None:
        path = Path(text)
        inside = path.is_absolute() and path.is_relative_to(self.data_root)
        return path if inside and path.is_file() else None


def _told(done: Staged) -> tuple[int, int]:
    return len(done.copied), done.copied_bytes


def _fits(target: Path, files: Iterable[Path]) -> bool:
    """Whether the node's disk has room, and a tenth to spare for what the task itself writes there."""
    target.mkdir(parents=True, exist_ok=True)
    needed = sum(f.stat().st_size for f in files)
    disk = shutil.disk_usage(target)
    if needed > disk.free - disk.total // 10:
        log.warning("%d bytes do not fit at %s: read from where they lie", needed, target)
        return False
    return True


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _texts(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)


def _moved(values: Any, places: Mapping[str, str]) -> Any:
    if isinstance(values, str):
        return places.get(values, values)
    if isinstance(values, Mapping):
        return {key: _moved(value, places) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_moved(value, places) for value in values]
    return values


@contextmanager
def staged_in(where: str, data_root: Path, cache_root: Path) -> Iterator[StageIn | None]:
    """What ``CANDOR_STAGE_IN`` asks for; the folder on the node goes with the task."""
    if where not in ("scratch", "tmpdir"):
        yield None
        return
    if where == "scratch":
        yield StageIn(data_root, cache_root)
        return
    # Below $TMPDIR, which SLURM sets to a shared /tmp where a site does not say otherwise: nobody would clear it up.
    with tempfile.TemporaryDirectory(prefix="candor-staged-") as folder:
        yield StageIn(data_root, cache_root, Path(folder))


def raw_files(data_root: Path, names: Iterable[str]) -> list[Path]:
    """Files below folders of the data root; all of it without names. Raises DataError for a name that is not there."""
    found: list[Path] = []
    for name in list(names) or [""]:
        folder = data_root / name
        if not folder.exists() or ".." in Path(name).parts:
            raise DataError(f"there is no '{name or data_root}'", place=str(data_root))
        found += [folder] if folder.is_file() else files_below(folder)
    return sorted(set(found))
