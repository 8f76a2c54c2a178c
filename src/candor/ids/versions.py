"""Versions of data through DVC: what a dataset's files were, kept on a remote, named by a small pointer file.

The data root is the DVC repository, without git unless it already is one. Two things are tracked per dataset:

    <data root>/<dataset>.dvc          the raw files below <data root>/<dataset>
    <data root>/frames/<dataset>.dvc   the newest published ingest, whole with its record (<stage>/<key>/...)

A pointer names one version. Kept in git (``--pointers FOLDER``), it brings that version back on any machine. Pulled frames
are published into the cache, so a run on the same files finds its ingest done. Access keys come from the environment
(``AWS_ACCESS_KEY_ID``, ...); they are never written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from candor.config.settings import Settings
from candor.errors import ConfigError, DataError, ExtraMissing, NotFound
from candor.flow.artifact import ArtifactStore
from candor.ids import catalog

_REMOTE: Final = "candor"
_FRAMES: Final = "frames"
What = Literal["raw", "frames"]


@dataclass(frozen=True)
class Remote:
    """Where versions are kept: a folder, or ``s3://bucket/prefix``; ``endpoint`` where it is not Amazon's (R2, MinIO)."""

    url: str
    endpoint: str = ""


@dataclass(frozen=True)
class Moved:
    """One tracked thing of a dataset that was pushed or pulled, and its pointer."""

    dataset: str
    what: What
    pointer: Path


def push(
    datasets: Sequence[str],
    settings: Settings,
    *,
    remote: Remote | None = None,
    pointers: Path | None = None,
) -> list[Moved]:
    """Track and upload raw files and frames; all datasets of the data root if none is named.

    Raises ExtraMissing without DVC, ConfigError without a remote, NotFound if there is nothing of a dataset,
    DataError with DVC's reason.
    """
    root = _repository(settings, remote)
    moved = []
    for dataset in datasets or _present(root):
        tracked: list[tuple[What, Path]] = []
        if (root / dataset).is_dir():
            tracked.append(("raw", root / dataset))
        frames = _export_frames(dataset, settings)
        if frames is not None:
            tracked.append(("frames", frames))
        if not tracked:
            hint = "Add its files with candor data add, or ingest it."
            raise NotFound(f"nothing of {dataset} to push", place=str(root), hint=hint)
        for what, folder in tracked:
            target = folder.relative_to(root).as_posix()
            _dvc(root, "add", target)
            _dvc(root, "push", f"{target}.dvc")
            pointer = root / f"{target}.dvc"
            if pointers is not None:
                _copy(pointer, pointers / f"{target}.dvc")
            moved.append(Moved(dataset, what, pointer))
    return moved


def pull(
    datasets: Sequence[str],
    settings: Settings,
    *,
    remote: Remote | None = None,
    pointers: Path | None = None,
) -> list[Moved]:
    """Bring the versions that the pointers name; every pointer of ``pointers``, else of the data root, if none is named.

    Raises as ``push``, and DataError where local files have changed since they were tracked.
    """
    root = _repository(settings, remote)
    source = pointers or root
    names = datasets or sorted({p.stem for p in (*source.glob("*.dvc"), *(source / _FRAMES).glob("*.dvc"))})
    moved = []
    for dataset in names:
        found: list[tuple[What, str]] = [("raw", dataset), ("frames", f"{_FRAMES}/{dataset}")]
        known = [(what, target) for what, target in found if (source / f"{target}.dvc").is_file()]
        if not known:
            hint = f"Put {dataset}.dvc there, or name its folder with --pointers."
            raise NotFound(f"no pointer of {dataset}", place=str(source), hint=hint)
        for what, target in known:
            pointer = root / f"{target}.dvc"
            if source != root:
                _copy(source / f"{target}.dvc", pointer)
            _dvc(root, "pull", f"{target}.dvc")
            if what == "frames":
                _publish_frames(root / target, settings)
            moved.append(Moved(dataset, what, pointer))
    return moved


def _present(root: Path) -> list[str]:
    """Folders of the data root that a preset knows."""
    return [name for name in catalog.dataset_names(data_root=root) if (root / name).is_dir()]


def _repository(settings: Settings, remote: Remote | None) -> Path:
    """The data root as a DVC repository with a remote; its cache lies below the cache root, which may be purged."""
    if find_spec("dvc") is None:
        raise ExtraMissing("DVC is not installed", hint="Install candor[dvc].")
    root = settings.data_root
    root.mkdir(parents=True, exist_ok=True)
    if not any((place / ".dvc").is_dir() for place in (root, *root.parents)):
        _dvc(root, "init", "--no-scm")
        for key in ("core.analytics", "core.check_update"):
            _dvc(root, "config", key, "false")
        _dvc(root, "cache", "dir", "--local", str(settings.cache_root / "dvc"))
    if remote is not None:
        _dvc(root, "remote", "add", "--local", "-d", "-f", _REMOTE, remote.url)
        if remote.endpoint:
            _dvc(root, "remote", "modify", "--local", _REMOTE, "endpointurl", remote.endpoint)
    elif not _run(root, "config", "core.remote").stdout.strip():
        hint = "Name a folder or s3://bucket/prefix once with --remote."
        raise ConfigError("no remote to keep data on", place=str(root / ".dvc"), hint=hint)
    return root


def _export_frames(dataset: str, settings: Settings) -> Path | None:
    """The newest published ingest below ``<data root>/frames/<dataset>``, alone; None if there is none."""
    ingested = catalog.ingested(dataset, settings.cache_root)
    if ingested is None:
        return None
    folder = settings.data_root / _FRAMES / dataset
    target = folder / ingested.path.parent.name / ingested.path.name
    if not target.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ingested.path, target)
    return folder


def _publish_frames(folder: Path, settings: Settings) -> None:
    """Put pulled ingests into the artifact store, each checked against its own record."""
    store = ArtifactStore(settings.cache_root)
    for artifact in folder.glob("*/*"):
        stage, key = artifact.parent.name, artifact.name
        with store.lock(key):
            if store.find(stage, key) is None:
                staging = store.staging(key)
                shutil.copytree(artifact, staging, dirs_exist_ok=True)
                target = store.path(stage, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                staging.replace(target)
        store.open(stage, key, verify=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _dvc(root: Path, *arguments: str) -> None:
    done = _run(root, *arguments)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = (said[0] if said else done.stderr).removeprefix("ERROR:").strip().rstrip(".")
        hint = "Check the remote's address and access keys, then run again."
        raise DataError(f"dvc {arguments[0]} {arguments[-1]}: {reason}", place=str(root), hint=hint)


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """DVC in its own process: it is slow to import, and logs to the root logger."""
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
