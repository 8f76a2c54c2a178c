"""Where the captures of a flow dataset lie on this machine. ``catalog`` knows those of a bus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candor.config.settings import Settings
from candor.ids.captures.flows.config import FlowSource
from candor.ids.captures.flows.registry import Located, flow_source, locate_flows
from candor.ids.catalog import DatasetPreset, digest, folders_of, not_ingested, refuse_missing


def discover(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[FlowSource, ...]:
    """Find the files of every capture and their digests.

    Raises SourceMissing with the captures that are missing, the folders looked at and how to obtain them.
    """
    folders, located = _look(preset, settings, env, cwd)
    missing = [name for name, found in located.items() if found is None]
    refuse_missing(preset, missing, folders)
    return tuple(
        FlowSource.model_validate(flow_source(capture, found, lambda path: digest(path, settings.cache_root)))
        for capture in preset.flows
        if (found := located[capture.capture])
    )


def planned(
    preset: DatasetPreset,
    settings: Settings,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> list[dict[str, Any]]:
    """Captures of a dataset that was not ingested: what the preset says, and its files (None if any is missing)."""
    _, located = _look(preset, settings, env, cwd)
    return [
        not_ingested(
            preset.name, c, " ".join(map(str, found.paths)) if (found := located[c.capture]) else None
        )
        for c in preset.flows
    ]


def _look(
    preset: DatasetPreset, settings: Settings, env: Mapping[str, str] | None, cwd: Path | None
) -> tuple[tuple[Path, ...], dict[str, Located | None]]:
    """Folders looked at, and the files of each capture."""
    folders = folders_of(preset, settings, env=env, cwd=cwd)
    return folders, {capture.capture: locate_flows(capture, folders) for capture in preset.flows}
