"""What a dataset's preset says beyond the files of a run: copies, other datasets, what a download lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from candor.config.settings import Settings
from candor.errors import ConfigError, DataError, PresetNotFound, SourceMissing, StorageFull
from candor.ids import catalog
from candor.ids.captures import capture_metadata
from candor.ids.captures.files import sha256_of
from candor.ids.catalog import DatasetCapture, DatasetPreset
from candor.ids.config import CaptureSource, FiledElsewhere

#: What people call a domain → what presets call it.
DOMAINS: Final = {"automotive": "can", "vehicle": "can", "network": "flow"}

How = Literal["link", "copy"]


def filed_elsewhere(
    preset: DatasetPreset,
    sources: Sequence[CaptureSource],
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[FiledElsewhere, ...]:
    """Every other place of the captures in use: copies in the dataset's own folders, places in other datasets.

    A copy that is not on this machine can mislead nobody here and is left out; another dataset may be fetched later.
    """
    used = {source.capture: Path(source.path) for source in sources}
    own = catalog.folders_of(preset, settings, env=env, cwd=cwd)
    found = []
    for known in preset.captures:
        if known.capture not in used:
            continue
        for stem in (known.path, *known.copies):
            path = _first(own, stem)
            if path is not None and path.resolve() != used[known.capture].resolve():
                found.append(_elsewhere(known.capture, preset.name, stem, path, settings))
        for place in known.also_in:
            dataset, _, stem = place.partition("/")
            folders = _folders(dataset, settings, env, cwd)
            found.append(_elsewhere(known.capture, dataset, stem, _first(folders, stem), settings))
    return tuple(found)


def _folders(
    dataset: str, settings: Settings, env: Mapping[str, str] | None, cwd: Path | None
) -> tuple[Path, ...]:
    """Folders of another dataset, which need not have a preset here."""
    try:
        other = catalog.dataset_preset(dataset, data_root=settings.data_root)
    except PresetNotFound:
        env = os.environ if env is None else env
        return catalog.roots(dataset, settings, env=env, cwd=cwd or Path.cwd())
    return catalog.folders_of(other, settings, env=env, cwd=cwd)


def _first(folders: Iterable[Path], stem: str) -> Path | None:
    return next((path for folder in folders if (path := catalog.find(folder, stem))), None)


def _elsewhere(
    capture: str, dataset: str, stem: str, path: Path | None, settings: Settings
) -> FiledElsewhere:
    return FiledElsewhere(
        capture=capture,
        dataset=dataset,
        place=stem,
        path=str(path.resolve()) if path else "",
        sha256=catalog.digest(path, settings.cache_root) if path else "",
    )


def same_frames(dataset: str, settings: Settings) -> list[tuple[str, str, str]]:
    """(capture, other dataset, its capture) for frames that ingests of two datasets have in common."""
    own = catalog.ingested(dataset, settings.cache_root)
    if own is None:
        return []
    captures = {str(row["frames_sha256"]): str(row["capture"]) for row in own.captures}
    found = []
    for other in catalog.dataset_names(data_root=settings.data_root):
        theirs = catalog.ingested(other, settings.cache_root) if other != dataset else None
        for row in theirs.captures if theirs else []:
            if row["frames_sha256"] in captures:
                found.append((captures[str(row["frames_sha256"])], other, str(row["capture"])))
    return found


# ---------------------------------------------------------------- what a download holds


@dataclass(frozen=True)
class Delivery:
    """A folder compared with a preset.

    Attributes:
        found: capture → its file there. missing: captures a run needs. optional: captures it can do without.
        copies: files that repeat a found capture. unexpected: files that the preset does not know.
    """

    found: dict[str, Path]
    missing: tuple[str, ...]
    optional: tuple[str, ...]
    copies: tuple[Path, ...]
    unexpected: tuple[Path, ...]


def inspect(preset: DatasetPreset, folder: Path) -> Delivery:
    """Compare a folder, in the published or the packed layout, with what the preset expects of it.

    Raises SourceMissing if it is no folder, ConfigError for a dataset that has no files.
    """
    if not preset.captures:
        raise ConfigError(f"{preset.name} has no files to add", place=preset.name, hint=preset.obtain.strip())
    if not folder.is_dir():
        raise SourceMissing(
            f"no folder '{folder}'", hint="Name the folder that you unpacked the download into."
        )
    found: dict[str, Path] = {}
    copies: set[Path] = set()
    for known in preset.captures:
        places = [path for stem in (known.path, *known.copies) if (path := catalog.find(folder, stem))]
        if places:
            found[known.capture] = places[0]
            copies.update(places[1:])
    absent = [known for known in preset.captures if known.capture not in found]
    expected = {*found.values(), *copies}
    present = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return Delivery(
        found,
        tuple(k.capture for k in absent if not k.optional),
        tuple(k.capture for k in absent if k.optional),
        tuple(sorted(copies)),
        tuple(p for p in present if p not in expected and p.name.endswith(catalog.SUFFIXES)),
    )


@dataclass(frozen=True)
class Added:
    """What ``add`` did: captures new in the data root, and those that lay there already."""

    new: tuple[str, ...]
    there: tuple[str, ...]


def add(preset: DatasetPreset, delivery: Delivery, settings: Settings, how: How) -> Added:
    """Bring the files found into ``<data root>/<dataset>`` under the preset's names; again it changes nothing.

    Raises DataError where another file of that name lies there already, StorageFull.
    """
    by_name = {known.capture: known for known in preset.captures}
    new, there = [], []
    for capture, path in delivery.found.items():
        target = _target(preset, by_name[capture], path, settings)
        if _same(path, target):
            there.append(capture)
            continue
        if target.exists() or target.is_symlink():
            raise DataError(
                f"another file of {capture} lies in the data root", place=str(target), hint="Remove it first."
            )
        _bring(path, target, how)
        new.append(capture)
        beside = path.with_name(capture_metadata.NAME)
        if beside.is_file() and not target.with_name(beside.name).exists():
            _bring(beside, target.with_name(beside.name), how)
    return Added(tuple(new), tuple(there))


def _target(preset: DatasetPreset, known: DatasetCapture, path: Path, settings: Settings) -> Path:
    suffix = next(s for s in sorted(catalog.SUFFIXES, key=len, reverse=True) if path.name.endswith(s))
    stem = Path(known.path)
    return settings.data_root / preset.name / stem.parent / (stem.name + suffix)


def _same(path: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    if target.resolve() == path.resolve():
        return True
    return target.stat().st_size == path.stat().st_size and sha256_of(target) == sha256_of(path)


def _bring(path: Path, target: Path, how: How) -> None:
    """Copies appear whole: a half-copied file would be planned, and refused only by ingest."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            target.symlink_to(path.resolve())
            return
        shutil.copy2(path, draft)
        draft.replace(target)
    except OSError as e:
        draft.unlink(missing_ok=True)
        raise StorageFull(
            f"cannot write: {e.strerror}", place=str(target), hint="Free space, or add the files as links."
        ) from e
