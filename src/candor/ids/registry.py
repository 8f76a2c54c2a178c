"""What a dataset's preset says beyond the files of a run: copies, other datasets, what a download lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from candor.config.layers import nearest
from candor.config.settings import Settings
from candor.errors import ConfigError, DataError, PresetNotFound, SourceMissing, StorageFull
from candor.ids import catalog
from candor.ids.captures import capture_metadata
from candor.ids.captures.files import sha256_of
from candor.ids.captures.flows.registry import SUFFIXES as FLOW_SUFFIXES
from candor.ids.captures.flows.registry import find_flows, locate_flows
from candor.ids.catalog import DatasetPreset
from candor.ids.config import CaptureSource, FiledElsewhere

#: What people call a domain → what presets call it.
DOMAINS: Final = {"automotive": "can", "vehicle": "can", "network": "flow"}


def domain(word: str) -> str:
    """What presets call a domain. Raises ConfigError for a word that is none."""
    found = DOMAINS.get(word, word)
    if found not in DOMAINS.values():
        names = sorted({*DOMAINS, *DOMAINS.values()})
        near = nearest(word, names)
        meant = f" Did you mean '{near}'?" if near else ""
        raise ConfigError(
            f"no domain '{word}'", place="--domain", hint=f"Domains: {', '.join(names)}.{meant}"
        )
    return found


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


def dbc_files(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> dict[str, Path]:
    """Vehicle → its DBC file, of those that the preset declares and that are on this machine."""
    folders = catalog.folders_of(preset, settings, env=env, cwd=cwd)
    found = {
        vehicle: next((path for folder in folders if (path := folder / name).is_file()), None)
        for vehicle, name in preset.dbc.items()
    }
    return {vehicle: path for vehicle, path in found.items() if path is not None}


# ---------------------------------------------------------------- what a download holds


@dataclass(frozen=True)
class Delivery:
    """A folder compared with a preset.

    Attributes:
        found: what the preset asks for (a capture of a bus, a file of flows) → its file there.
        missing: of those, what a run needs. optional: what it can do without.
        copies: files that repeat a found capture. unexpected: files that the preset does not know.
        targets: where each found file belongs below the dataset's folder.
    """

    found: dict[str, Path]
    missing: tuple[str, ...]
    optional: tuple[str, ...]
    copies: tuple[Path, ...]
    unexpected: tuple[Path, ...]
    targets: dict[str, Path] = field(compare=False)

    @property
    def asked(self) -> int:
        """How many the preset asks for."""
        return len(self.found) + len(self.missing) + len(self.optional)


def inspect(preset: DatasetPreset, folder: Path) -> Delivery:
    """Compare a folder, in the published or the packed layout, with what the preset expects of it.

    Raises SourceMissing if it is no folder, ConfigError for a dataset that has no files.
    """
    if not preset.captures and not preset.flows:
        raise ConfigError(f"{preset.name} has no files to add", place=preset.name, hint=preset.obtain.strip())
    if not folder.is_dir():
        raise SourceMissing(
            f"no folder '{folder}'", hint="Name the folder that you unpacked the download into."
        )
    return _flows_in(preset, folder) if preset.flows else _captures_in(preset, folder)


def _captures_in(preset: DatasetPreset, folder: Path) -> Delivery:
    found: dict[str, Path] = {}
    targets: dict[str, Path] = {}
    copies: set[Path] = set()
    for known in preset.captures:
        places = [path for stem in (known.path, *known.copies) if (path := catalog.find(folder, stem))]
        if places:
            found[known.capture] = places[0]
            targets[known.capture] = Path(known.path + _suffix(places[0], catalog.SUFFIXES))
            copies.update(places[1:])
    absent = [known for known in preset.captures if known.capture not in found]
    return Delivery(
        found,
        tuple(k.capture for k in absent if not k.optional),
        tuple(k.capture for k in absent if k.optional),
        tuple(sorted(copies)),
        _unknown(folder, {*found.values(), *copies}, catalog.SUFFIXES),
        targets,
    )


def _flows_in(preset: DatasetPreset, folder: Path) -> Delivery:
    """Captures of flows share files: a file is what is asked for. Of alternatives, the complete one counts."""
    asked: dict[str, None] = {}
    for capture in preset.flows:
        located = locate_flows(capture, [folder])
        names = [name for name, _ in located.files] if located else capture.files[0].names
        asked |= dict.fromkeys(names)
    places = {name: find_flows(name, [folder]) for name in asked}
    found = {name: path for name, path in places.items() if path}
    return Delivery(
        found,
        tuple(name for name in asked if name not in found),
        (),
        (),
        _unknown(folder, set(found.values()), FLOW_SUFFIXES),
        {name: path.relative_to(folder) for name, path in found.items()},
    )


def _unknown(folder: Path, known: set[Path], suffixes: Sequence[str]) -> tuple[Path, ...]:
    """Data files below ``folder`` that nobody asked for."""
    endings = tuple(suffix for suffix in suffixes if suffix)
    present = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return tuple(p for p in present if p not in known and str(p).endswith(endings))


def _suffix(path: Path, suffixes: Sequence[str]) -> str:
    return next(s for s in sorted(suffixes, key=len, reverse=True) if path.name.endswith(s))


@dataclass(frozen=True)
class Added:
    """What ``add`` did: what is new in the data root, and what lay there already."""

    new: tuple[str, ...]
    there: tuple[str, ...]


def add(preset: DatasetPreset, delivery: Delivery, settings: Settings, how: How) -> Added:
    """Bring the files found into ``<data root>/<dataset>`` under the preset's names; again it changes nothing.

    Raises DataError where another file of that name lies there already, StorageFull.
    """
    new, there = [], []
    for name, path in delivery.found.items():
        target = settings.data_root / preset.name / delivery.targets[name]
        if _same(path, target):
            there.append(name)
            continue
        if target.exists() or target.is_symlink():
            raise DataError(
                f"another file of {name} lies in the data root", place=str(target), hint="Remove it first."
            )
        _bring(path, target, how)
        new.append(name)
        beside = path.with_name(capture_metadata.NAME)
        if beside.is_file() and not target.with_name(beside.name).exists():
            _bring(beside, target.with_name(beside.name), how)
    return Added(tuple(new), tuple(there))


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
