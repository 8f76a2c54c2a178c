"""The shipped presets of flows, and how their files are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_roots import put, roots

from candor.config.settings import Settings
from candor.errors import SourceMissing
from candor.ids import catalog, flow_catalog

PACKED = ["cicids2017", "ctu13", "iot23", "nf_bot_iot_v2", "unsw_nb15"]
FLOWS = [*PACKED, "nf_cse_cic_ids2018_v2", "nf_ton_iot_v2", "nf_unsw_nb15_v2"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return roots(tmp_path)


@pytest.mark.parametrize("name", FLOWS)
def test_shipped_flow_presets_are_valid(name: str) -> None:
    preset = catalog.dataset_preset(name)
    assert (preset.name, preset.domain, preset.captures) == (name, "flow", ())
    assert {c.split for c in preset.flows} == {"train", "test"}
    assert len({c.capture for c in preset.flows}) == len(preset.flows)
    for capture in preset.flows:
        assert (capture.split == "test") == bool(capture.scenario)
        assert capture.files


def test_flow_presets_find_their_files_in_the_shared_pack(shared_data: Path, settings: Settings) -> None:
    env = {"CANDOR_SHARED_DATA": str(shared_data)}
    for name in PACKED:
        rows = flow_catalog.planned(catalog.dataset_preset(name), settings, env=env, cwd=settings.data_root)
        missing = [row["capture"] for row in rows if row["file"] is None]
        assert len(missing) == (12 if name == "ctu13" else 0), name


def test_the_full_files_go_before_a_sample_and_missing_ones_are_named(settings: Settings) -> None:
    preset = catalog.dataset_preset("unsw_nb15")
    folder = settings.data_root / "unsw_nb15"
    with pytest.raises(SourceMissing, match="no file for unsw-early, unsw-late"):
        flow_catalog.discover(preset, settings, env={}, cwd=settings.data_root)
    put(folder / "UNSW-NB15_1_first1000_with_header.csv")
    for number in (1, 2, 3):
        put(folder / f"UNSW-NB15_{number}.csv")
    found = flow_catalog.discover(preset, settings, env={}, cwd=settings.data_root)
    assert [len(s.files) for s in found] == [1, 1]
    put(folder / "UNSW-NB15_4.csv")
    found = flow_catalog.discover(preset, settings, env={}, cwd=settings.data_root)
    assert [Path(f.path).name for f in found[0].files] == [f"UNSW-NB15_{i}.csv" for i in (1, 2, 3, 4)]
    assert found[0].part == (0.0, 0.69)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nf_bot_iot_v2", "NF-BoT-IoT-v2"),
        ("nf_cse_cic_ids2018_v2", "NF-CSE-CIC-IDS2018-v2"),
        ("nf_ton_iot_v2", "NF-ToN-IoT-v2"),
        ("nf_unsw_nb15_v2", "NF-UNSW-NB15-v2"),
    ],
)
def test_a_netflow_set_is_found_where_its_preset_says_to_put_it(
    settings: Settings, name: str, file: str
) -> None:
    preset = catalog.dataset_preset(name)
    where = f"<data root>/{name}/{file}.csv"
    assert where in preset.obtain
    put(settings.data_root / name / f"{file}.csv")
    found = flow_catalog.discover(preset, settings, env={}, cwd=settings.data_root)
    assert [(s.split, Path(s.files[0].path).name) for s in found] == [
        ("train", f"{file}.csv"),
        ("test", f"{file}.csv"),
    ]
