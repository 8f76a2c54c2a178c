"""Roots below a test's folder, presets of its own, and files put where a preset looks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from candor.config.settings import Settings
from candor.ids import catalog

CSV = b"timestamp,arbitration_id,data_field,attack\n1.0,316,00,0\n1.1,316,01,1\n"


def roots(folder: Path) -> Settings:
    """Settings whose every root lies below ``folder``."""
    return Settings.from_env({"CANDOR_ROOT": str(folder / "root"), "HOME": str(folder)})


def own_preset(settings: Settings, text: str) -> catalog.DatasetPreset:
    """Write a dataset preset, as a person does, and read it."""
    name = text.split("name: ", 1)[1].split("\n", 1)[0]
    folder = settings.data_root / "presets" / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    return catalog.dataset_preset(name, data_root=settings.data_root)


def traffic(
    seed: int, *, attack: bool, seconds: float = 4.0, between_s: tuple[float, float] = (1.0, 3.0)
) -> str:
    """A CSV of six IDs with noisy payloads; every fifth frame of the seconds between is an attack, if there is one."""
    rng = np.random.default_rng(seed)
    begin, end = between_s
    lines = ["timestamp,arbitration_id,data_field,attack"]
    for k, t in enumerate(np.arange(0, seconds, 0.002)):
        hit = attack and begin < t < end and k % 5 == 0
        payload = "0" * 16 if hit else rng.bytes(8).hex().upper()
        lines.append(f"{t:.6f},{0 if hit else 0x100 + k % 6:03X},{payload},{int(hit)}")
    return "\n".join(lines) + "\n"


def put(path: Path, content: bytes = CSV) -> Path:
    """A file with these bytes, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
