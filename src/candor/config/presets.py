"""Named YAML layers: shipped with the package, and the user's own in ``<data_root>/presets``."""

from __future__ import annotations

from pathlib import Path

from candor.config.layers import Layer, load_yaml, nearest
from candor.errors import PresetNotFound

SHIPPED = Path(__file__).resolve().parent.parent / "presets"


def _folders(kind: str, data_root: Path | None) -> list[tuple[str, Path]]:
    own = [("own presets", data_root / "presets" / kind)] if data_root else []
    return [*own, ("presets", SHIPPED / kind)]


def list_presets(kind: str, *, data_root: Path | None = None) -> list[str]:
    """Names of all presets of ``kind`` (datasets, models, experiments), sorted."""
    names = {
        str(p.relative_to(folder).with_suffix(""))
        for _, folder in _folders(kind, data_root)
        for p in folder.rglob("*.yaml")
    }
    return sorted(names)


def load_preset(kind: str, name: str, *, data_root: Path | None = None) -> Layer:
    """The preset ``name`` of ``kind``; the user's own wins over the shipped one.

    Raises PresetNotFound with the nearest name and all that exist.
    """
    available = list_presets(kind, data_root=data_root)
    if name in available:
        for label, folder in _folders(kind, data_root):
            path = folder / f"{name}.yaml"
            if path.is_file():
                return load_yaml(path, name=f"{label}/{kind}/{name}.yaml")
    near = nearest(name, available)
    meant = f" Did you mean '{near}'?" if near else ""
    raise PresetNotFound(
        f"no preset named '{name}'",
        place=f"presets/{kind}",
        hint=f"Available: {', '.join(available) or 'none'}.{meant}",
    )
