from __future__ import annotations

from pathlib import Path

import pytest
from data_roots import own_preset, put, roots

from candor.config.settings import Settings
from candor.errors import ConfigError, DataError, SourceMissing
from candor.ids import catalog, flow_catalog, registry

PRESET = """\
name: mine
title: Mine
domain: can
licence: none
citation: none
obtain: Ask the author.
captures:
  - {capture: a, path: one/a, copies: [two/a], also_in: [theirs/test/z], split: train, vehicle: v}
  - {capture: b, path: one/b, split: test, scenario: s, vehicle: w, attack: dos}
  - {capture: c, path: one/c, optional: true, split: test, scenario: s, vehicle: w, attack: dos}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return roots(tmp_path)


@pytest.fixture
def preset(settings: Settings) -> catalog.DatasetPreset:
    return own_preset(settings, PRESET)


def test_a_download_is_compared_with_the_preset(preset: catalog.DatasetPreset, tmp_path: Path) -> None:
    a, again = put(tmp_path / "d" / "one" / "a.csv"), put(tmp_path / "d" / "two" / "a.csv")
    stray = put(tmp_path / "d" / "one" / "stray.csv")
    put(tmp_path / "d" / "README.md")
    found = registry.inspect(preset, tmp_path / "d")
    assert found == registry.Delivery({"a": a}, ("b",), ("c",), (again,), (stray,), {})
    assert (found.asked, found.targets) == (3, {"a": Path("one/a.csv")})


@pytest.mark.parametrize("how", ["link", "copy"])
def test_adding_twice_changes_nothing(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path, how: registry.How
) -> None:
    put(tmp_path / "d" / "split=one" / "a.csv.gz")
    put(tmp_path / "d" / "one" / "b.parquet", b"PAR1")
    delivery = registry.inspect(preset, tmp_path / "d")
    assert registry.add(preset, delivery, settings, how) == registry.Added(("a", "b"), ())
    target = settings.data_root / "mine" / "one" / "a.csv.gz"
    assert target.is_symlink() == (how == "link")
    before = target.lstat()
    assert registry.add(preset, delivery, settings, how) == registry.Added((), ("a", "b"))
    assert target.lstat() == before
    found = catalog.discover(preset, settings, env={}, cwd=tmp_path)
    assert [source.capture for source in found] == ["a", "b"]


def test_another_file_in_the_data_root_is_never_overwritten(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    put(settings.data_root / "mine" / "one" / "a.csv", b"mine own")
    put(tmp_path / "d" / "one" / "a.csv")
    with pytest.raises(DataError, match="another file of a"):
        registry.add(preset, registry.inspect(preset, tmp_path / "d"), settings, "copy")
    assert (settings.data_root / "mine" / "one" / "a.csv").read_bytes() == b"mine own"


def test_a_folder_that_is_none_and_a_dataset_without_files_are_refused(
    preset: catalog.DatasetPreset, tmp_path: Path
) -> None:
    with pytest.raises(SourceMissing):
        registry.inspect(preset, tmp_path / "none")
    with pytest.raises(ConfigError, match="no files to add"):
        registry.inspect(catalog.dataset_preset("synthetic"), tmp_path)


def test_a_run_goes_without_an_optional_capture_only(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    put(settings.data_root / "mine" / "one" / "a.csv")
    put(settings.data_root / "mine" / "one" / "c.csv")
    with pytest.raises(SourceMissing, match="no file for b"):
        catalog.discover(preset, settings, env={}, cwd=tmp_path)


def test_copies_and_other_datasets_are_told_with_their_files(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    put(settings.data_root / "mine" / "one" / "a.csv")
    put(settings.data_root / "mine" / "one" / "b.csv")
    sources = catalog.discover(preset, settings, env={}, cwd=tmp_path)
    (other,) = registry.filed_elsewhere(preset, sources, settings, env={}, cwd=tmp_path)
    assert (other.place_name, other.path) == ("theirs/test/z", "")
    copy = put(settings.data_root / "mine" / "two" / "a.csv")
    theirs = put(settings.data_root / "theirs" / "test" / "z.csv")
    found = registry.filed_elsewhere(preset, sources, settings, env={}, cwd=tmp_path)
    assert [(e.place_name, e.path) for e in found] == [
        ("mine/two/a", str(copy)),
        ("theirs/test/z", str(theirs)),
    ]


def test_shipped_presets_find_the_files_of_the_shared_pack(shared_data: Path, settings: Settings) -> None:
    present = {"hcrl_sa": 11, "set_01": 7, "ciciov2024": 3, "road": 2, "j1939_attack": 2}
    for name, count in present.items():
        preset = catalog.dataset_preset(name)
        env = {"CANDOR_SHARED_DATA": str(shared_data)}
        rows = catalog.planned(preset, settings, env=env, cwd=settings.data_root)
        assert sum(row["file"] is not None for row in rows) == count, name


def test_the_shared_pack_is_a_complete_delivery_of_set_01(shared_data: Path) -> None:
    delivery = registry.inspect(catalog.dataset_preset("set_01"), shared_data / "can" / "dataset=set_01")
    assert (len(delivery.found), delivery.missing, delivery.unexpected) == (7, (), ())
    assert [p.stem for p in delivery.copies] == ["accessory-1", "accessory-2"]


SETS = ("set_01", "set_02", "set_03", "set_04")


def test_what_one_set_says_lies_in_another_the_other_says_too() -> None:
    known = {name: catalog.dataset_preset(name).captures for name in SETS}
    places = {
        (name, stem): capture
        for name, captures in known.items()
        for capture in captures
        for stem in (capture.path, *capture.copies)
    }
    pairs = 0
    for name, captures in known.items():
        for capture in captures:
            for place in capture.also_in:
                other, _, stem = place.partition("/")
                if (other, stem) not in places:
                    assert other == "set_01", f"{name}: {place} is in no preset"
                    continue
                back = {p.partition("/")[::2] for p in places[other, stem].also_in}
                assert {(name, s) for s in (capture.path, *capture.copies)} & {(a, b) for a, b in back}
                pairs += 1
    assert pairs >= 2 * 46


@pytest.mark.parametrize(("name", "files"), [("set_02", 56), ("set_03", 62), ("set_04", 66)])
def test_the_first_edition_of_a_set_is_told_apart_from_what_is_missing(
    tmp_path: Path, name: str, files: int
) -> None:
    preset = catalog.dataset_preset(name)
    assert len({capture.capture for capture in preset.captures}) == len(preset.captures)
    first = {
        stem
        for capture in preset.captures
        for stem in (capture.path, *capture.copies)
        if stem.startswith("train_01/") or (stem.startswith("test_0") and stem[6] in "1234")
    }
    assert len(first) == files
    for stem in sorted(first)[1:]:
        path = tmp_path / f"{stem}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    delivery = registry.inspect(preset, tmp_path)
    assert (delivery.unexpected, delivery.copies) == ((), ())
    assert len(delivery.found) == files - 1
    gone = next(c for c in preset.captures if sorted(first)[0] in (c.path, *c.copies))
    assert gone.capture in (*delivery.missing, *delivery.optional)


# ---------------------------------------------------------------- flows

FLOWS = """\
name: net
title: Net
domain: flow
licence: none
citation: none
obtain: Ask the author.
flows:
  - {capture: early, files: &files [{names: [part_1, logs]}, {names: [sample], sampled: true}], split: train, vehicle: n, part: [0.0, 0.7]}
  - {capture: late, files: *files, split: test, scenario: s, vehicle: n, part: [0.75, 1.0]}
"""


@pytest.fixture
def flows(settings: Settings) -> catalog.DatasetPreset:
    return own_preset(settings, FLOWS)


def test_a_download_of_flows_is_compared_file_by_file(flows: catalog.DatasetPreset, tmp_path: Path) -> None:
    one = put(tmp_path / "d" / "part_1.csv")
    stray = put(tmp_path / "d" / "part_3.csv")
    found = registry.inspect(flows, tmp_path / "d")
    assert (found.found, found.missing, found.unexpected) == ({"part_1": one}, ("logs",), (stray,))
    assert found.asked == 2


def test_the_files_of_a_sample_are_a_delivery_too(flows: catalog.DatasetPreset, tmp_path: Path) -> None:
    sample = put(tmp_path / "d" / "sample.parquet")
    found = registry.inspect(flows, tmp_path / "d")
    assert (found.found, found.missing) == ({"sample": sample}, ())


@pytest.mark.parametrize("how", ["link", "copy"])
def test_added_flows_are_found_by_a_run(
    flows: catalog.DatasetPreset, settings: Settings, tmp_path: Path, how: registry.How
) -> None:
    put(tmp_path / "d" / "part_1.csv.gz")
    put(tmp_path / "d" / "logs" / "bro" / "conn.log.labeled")
    delivery = registry.inspect(flows, tmp_path / "d")
    assert registry.add(flows, delivery, settings, how) == registry.Added(("part_1", "logs"), ())
    assert registry.add(flows, delivery, settings, how) == registry.Added((), ("part_1", "logs"))
    early, late = flow_catalog.discover(flows, settings, env={}, cwd=tmp_path)
    assert [Path(f.path).name for f in early.files] == [Path(f.path).name for f in late.files]
    assert len(early.files) == 2


def test_the_shared_pack_is_a_delivery_of_every_flow_dataset_but_ctu13(shared_data: Path) -> None:
    for name, pack in (
        ("unsw_nb15", "flows/dataset=unsw_nb15"),
        ("iot23", "flows/dataset=iot23"),
        ("cicids2017", "flows/dataset=cicids2017_improved"),
        ("nf_bot_iot_v2", "raw/netflow_nf_v2_csv"),
    ):
        delivery = registry.inspect(catalog.dataset_preset(name), shared_data / pack)
        assert delivery.missing == (), name
    lacking = registry.inspect(catalog.dataset_preset("ctu13"), shared_data / "raw/ctu13_binetflow")
    assert (len(lacking.found), len(lacking.missing)) == (1, 12)
