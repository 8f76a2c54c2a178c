from __future__ import annotations

from pathlib import Path

from candor.config.settings import Settings


def test_defaults_keep_data_in_the_home_and_the_cache_apart(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": str(tmp_path)})
    assert settings.data_root == tmp_path / ".local/share/candor"
    assert settings.run_root == settings.data_root
    assert settings.cache_root == tmp_path / ".cache/candor"


def test_a_scratch_disk_holds_the_cache(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": "/h", "SCRATCH": str(tmp_path), "XDG_CACHE_HOME": "/x"})
    assert settings.cache_root == tmp_path / "candor"


def test_one_variable_moves_everything(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": "/h", "SCRATCH": "/s", "CANDOR_ROOT": str(tmp_path)})
    assert all(
        p.is_relative_to(tmp_path) for p in (settings.data_root, settings.cache_root, settings.run_root)
    )


def test_a_root_named_on_its_own_wins(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {"CANDOR_ROOT": "/all", "CANDOR_CACHE_ROOT": str(tmp_path), "CANDOR_RUN_ROOT": "/runs"}
    )
    assert (settings.cache_root, settings.run_root, settings.data_root) == (
        tmp_path,
        Path("/runs"),
        Path("/all/data"),
    )


def test_runs_follow_the_data_root_unless_named() -> None:
    assert Settings.from_env({"HOME": "/h", "CANDOR_DATA_ROOT": "/d"}).run_root == Path("/d")


def test_an_empty_variable_counts_as_unset_and_tildes_expand(tmp_path: Path) -> None:
    settings = Settings.from_env({"HOME": str(tmp_path), "CANDOR_DATA_ROOT": "", "CANDOR_CACHE_ROOT": "~/x"})
    assert settings.data_root == tmp_path / ".local/share/candor"
    assert settings.cache_root == Path.home() / "x"
