"""Known datasets: what each capture is, and where its file lies on this machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from candor.config import presets
from candor.config.base import Config
from candor.config.settings import Settings
from candor.errors import ArtifactCorrupted, ConfigError, SourceMissing
from candor.ids.captures import capture_metadata, files
from candor.ids.captures.flows.registry import FlowCapture
from candor.ids.config import Absence, AttackInterval, CaptureSource

#: Names a variable that points to a pack of shared captures (``can/dataset=NAME/split=SPLIT/CAPTURE.parquet``).
SHARED_DATA_VARIABLE: Final = "CANDOR_SHARED_DATA"

SUFFIXES: Final = (".parquet", ".csv", ".csv.gz", ".txt", ".txt.gz", ".log", ".log.gz")


class DatasetCapture(Config):
    """One capture of a dataset preset.

    Attributes:
        path: file below the dataset's folder, without suffix (``train_02_with_attacks/DoS-kia``).
        copies: other places where the same recording is filed; used if ``path`` is absent.
        also_in: places in other datasets that hold the same recording (``set_02/<split folder>/<capture>``).
        optional: a run goes without it where its file is absent (a mirror has only a part of the published set).
        base_capture: recording it was derived from; itself where empty.
        attack: family of the file, "" attack-free.
        unlabelled_as: see CaptureSource.
        events: intervals of the attack (s since the first frame), or ``{kind: absence}``; see CaptureSource.
    """

    capture: str
    path: str
    copies: tuple[str, ...] = ()
    also_in: tuple[str, ...] = ()
    optional: bool = False
    split: Literal["train", "test"]
    scenario: str = ""
    vehicle: str
    base_capture: str = ""
    attack: str = ""
    unlabelled_as: Literal["unknown", "benign"] = "unknown"
    events: tuple[AttackInterval, ...] | Absence | None = None


class DatasetPreset(Config):
    """A dataset: its terms, how to get it, its captures. ``defaults`` is a config layer under the experiment's.

    One of flows has ``flows`` instead of ``captures``.

    Attributes:
        packs: folders of the shared pack to look in; ``can/dataset=NAME`` where none is named.
        dbc: vehicle → DBC file below the dataset's folder that names its signals; "" is for all others.
    """

    name: str
    title: str
    domain: Literal["can", "flow"]
    licence: str
    citation: str
    obtain: str
    generated: bool = False
    captures: tuple[DatasetCapture, ...] = ()
    flows: tuple[FlowCapture, ...] = ()
    packs: tuple[str, ...] = ()
    dbc: dict[str, str] = Field(default_factory=dict)
    defaults: Annotated[dict[str, Any], Field(default_factory=dict)]


def dataset_names(*, data_root: Path | None = None) -> list[str]:
    """All datasets with a preset, the user's own included."""
    return presets.list_presets("datasets", data_root=data_root)


def dataset_preset(name: str, *, data_root: Path | None = None) -> DatasetPreset:
    """The preset of a dataset. Raises PresetNotFound with the nearest name, or ConfigError for a broken preset."""
    layer = presets.load_preset("datasets", name, data_root=data_root)
    try:
        return DatasetPreset.model_validate(layer.values)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {first['msg']}", place=layer.name) from e


def roots(
    dataset: str, settings: Settings, *, env: Mapping[str, str], cwd: Path, packs: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Folders that may hold a dataset's files, the user's own first.

    ``<data root>/<dataset>``, then the shared pack named by CANDOR_SHARED_DATA, then a ``shared/data`` folder beside
    the checkout that ``cwd`` lies in. ``packs``: the pack's own folders of the dataset.
    """
    inside = packs or (f"can/dataset={dataset}",)
    named = env.get(SHARED_DATA_VARIABLE)
    shared = [Path(named)] if named else [place / "shared" / "data" for place in (cwd, *cwd.parents)]
    places = [place for place in shared if named or place.is_dir()]
    return (settings.data_root / dataset, *(place / pack for place in places for pack in inside))


def folders_of(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[Path, ...]:
    """``roots`` of a preset in this process's environment, unless told otherwise."""
    env = os.environ if env is None else env
    return roots(preset.name, settings, env=env, cwd=cwd or Path.cwd(), packs=preset.packs)


def discover(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[CaptureSource, ...]:
    """Find the files of every capture and their digests; a generated dataset has none.

    Raises SourceMissing with the captures that are missing, the folders looked at and how to obtain them.
    """
    folders = folders_of(preset, settings, env=env, cwd=cwd)
    found = {known.capture: locate(known, folders) for known in preset.captures}
    missing = [known.capture for known in preset.captures if not (found[known.capture] or known.optional)]
    if preset.captures and not any(found.values()):
        missing = missing or list(found)
    refuse_missing(preset, missing, folders)
    return tuple(
        _source(known, path, settings) for known in preset.captures if (path := found[known.capture])
    )


def refuse_missing(preset: DatasetPreset, missing: Sequence[str], folders: Sequence[Path]) -> None:
    """Raise SourceMissing if any capture is ``missing``, with the folders looked at and how to obtain them."""
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise SourceMissing(
            f"{preset.name}: no file for {shown}",
            place="; ".join(str(folder) for folder in folders),
            hint=f"{preset.obtain.strip().rstrip('.')}. Or set {SHARED_DATA_VARIABLE}.",
        )


def locate(known: DatasetCapture, folders: Sequence[Path]) -> Path | None:
    """First file of the capture below any of ``folders``, in the published or the packed layout."""
    found = (
        path for folder in folders for stem in (known.path, *known.copies) if (path := find(folder, stem))
    )
    return next(found, None)


def find(folder: Path, stem: str) -> Path | None:
    """``<folder>/<stem>`` with any known suffix, in the published or the packed layout."""
    for base in (folder / stem, folder / f"split={stem}"):
        for suffix in SUFFIXES:
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return path
    return None


def _source(known: DatasetCapture, path: Path, settings: Settings) -> CaptureSource:
    return CaptureSource(
        capture=known.capture,
        path=str(path.resolve()),
        sha256=digest(path, settings.cache_root),
        split=known.split,
        scenario=known.scenario,
        vehicle=known.vehicle,
        base_capture=known.base_capture or known.capture,
        attack=known.attack,
        unlabelled_as=known.unlabelled_as,
        events=_intervals(known, path),
    )


def _intervals(known: DatasetCapture, path: Path) -> tuple[AttackInterval, ...] | Absence | None:
    """Of the preset, else of a file beside the capture that tells of it, else from absence where the preset asks for it."""
    if known.events is not None and not isinstance(known.events, Absence):
        return known.events
    told = capture_metadata.intervals(path, known.attack)
    return told or capture_metadata.intervals(path.resolve(), known.attack) or known.events


def digest(path: Path, cache_root: Path) -> str:
    """SHA-256 of a file, remembered under ``cache_root`` for as long as path, size and modification time stay.

    Planning must stay fast on sets of many gigabytes. Ingest computes the digest again before it trusts the file.
    """
    stat = path.stat()
    identity = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    note = cache_root / "digests" / hashlib.sha256(identity.encode()).hexdigest()
    try:
        known = note.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if len(known) == 64:
        return known
    fresh = files.sha256_of(path)
    _remember(note, fresh)
    return fresh


def _remember(note: Path, value: str) -> None:
    """Write by rename: a second process may be doing the same. A cache that cannot be written only costs time."""
    draft = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(value + "\n", encoding="ascii")
        draft.replace(note)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Ingested:
    """The newest published ingest of a dataset: rows of its catalog.parquet and events.parquet."""

    path: Path
    captures: list[dict[str, Any]]
    events: list[dict[str, Any]]


def ingested(dataset: str, cache_root: Path) -> Ingested | None:
    """What the newest published ingest of ``dataset`` says of its captures; None if there is none.

    Raises ArtifactCorrupted if its tables cannot be read.
    """
    import pyarrow as pa  # Slow to import, and planning does not need it.
    import pyarrow.parquet as pq

    newest: tuple[str, Path] | None = None
    for record in (cache_root / "artifacts").glob("ingest*/*/record.json"):
        try:
            content = json.loads(record.read_text(encoding="utf-8"))
            said, created = content["summary"]["dataset"], str(content["created"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Being removed, or not one of ours: the artifact store reports damage, a listing need not.
        if said == dataset and (newest is None or created > newest[0]):
            newest = (created, record.parent)
    if newest is None:
        return None
    folder = newest[1]
    try:
        captures, events = (
            pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("catalog", "events")
        )
    except (OSError, pa.ArrowInvalid) as e:
        raise ArtifactCorrupted(
            f"the catalog of {dataset} cannot be read: {e}",
            place=str(folder),
            hint="Run again: the artifact is then rebuilt.",
        ) from e
    return Ingested(folder, captures, events)


def planned(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> list[dict[str, Any]]:
    """Captures of a dataset that was not ingested: what the preset says, and the file if it is there (else None)."""
    folders = folders_of(preset, settings, env=env, cwd=cwd)
    return [
        not_ingested(preset.name, known, str(path) if (path := locate(known, folders)) else None)
        for known in preset.captures
    ]


def not_ingested(dataset: str, known: DatasetCapture | FlowCapture, file: str | None) -> dict[str, Any]:
    """The row of a capture of which only the preset is known, and its file, or files parted by blanks."""
    said = {name: getattr(known, name) for name in ("capture", "split", "scenario", "vehicle", "attack")}
    unknown = dict.fromkeys(("rows", "duration_s", "ids", "attack_share", "quarantined"))
    base = known.base_capture or known.capture
    return {"dataset": dataset, **said, "base_capture": base, **unknown, "file": file, "ingested": False}
