from __future__ import annotations

from pathlib import Path

import pytest

from candor.config.presets import list_presets, load_preset
from candor.errors import PresetNotFound


def own(root: Path, name: str, text: str) -> None:
    path = root / "presets/datasets" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_users_preset_is_found_and_named_as_their_own(tmp_path: Path) -> None:
    own(tmp_path, "my set", "a: 1\n")
    layer = load_preset("datasets", "my set", data_root=tmp_path)
    assert (layer.values, layer.name) == ({"a": 1}, "own presets/datasets/my set.yaml")
    assert "my set" in list_presets("datasets", data_root=tmp_path)


def test_the_users_preset_wins_over_a_shipped_one(tmp_path: Path) -> None:
    shipped = list_presets("datasets")[0]
    own(tmp_path, shipped, "mine: true\n")
    assert load_preset("datasets", shipped, data_root=tmp_path).values == {"mine": True}


def test_a_missing_preset_names_the_nearest_and_all(tmp_path: Path) -> None:
    own(tmp_path, "vehicle_seven", "{}")
    with pytest.raises(PresetNotFound, match=r"Available: .*vehicle_seven.* Did you mean 'vehicle_seven'\?"):
        load_preset("datasets", "vehicle_sevn", data_root=tmp_path)


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "", "."])
def test_a_preset_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    own(tmp_path, "a", "{}")
    with pytest.raises(PresetNotFound):
        load_preset("datasets", name, data_root=tmp_path)


@pytest.mark.parametrize("kind", ["datasets", "experiments", "models"])
def test_every_shipped_preset_loads(kind: str) -> None:
    for name in list_presets(kind):
        assert isinstance(load_preset(kind, name).values, dict)
