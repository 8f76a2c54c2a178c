from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from data_roots import CSV, own_preset, put, roots

from candor.config.settings import Settings
from candor.errors import ArtifactCorrupted, ConfigError, PresetNotFound, SourceMissing
from candor.flow.stage import Inputs, Output
from candor.ids import catalog
from candor.ids.captures import files
from candor.ids.captures.ingest import ingest
from candor.ids.config import Absence, AttackInterval, CaptureSource, IngestConfig

PRESET = """\
name: mine
title: Mine
domain: can
licence: none
citation: none
obtain: Ask the author.
captures:
  - {capture: a, path: one/a, copies: [two/a], split: train, vehicle: v}
  - {capture: b, path: one/b, split: test, scenario: s, vehicle: w, attack: dos, base_capture: a}
"""


class Quiet:
    def log(self, *args: object, **kwargs: object) -> None: ...

    def rewind(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = roots(tmp_path)
    own_preset(settings, PRESET)
    return settings


@pytest.fixture
def preset(settings: Settings) -> catalog.DatasetPreset:
    return catalog.dataset_preset("mine", data_root=settings.data_root)


def discover(preset: catalog.DatasetPreset, settings: Settings, **env: str) -> tuple[CaptureSource, ...]:
    return catalog.discover(preset, settings, env=env, cwd=settings.data_root)


def test_shipped_and_own_datasets_are_listed(settings: Settings) -> None:
    own, shipped = (set(catalog.dataset_names(data_root=r)) for r in (settings.data_root, None))
    assert own == {*shipped, "mine"}
    assert shipped >= {"hcrl_ch", "hcrl_sa", "road", "ciciov2024", "j1939_attack", "synthetic"}
    assert shipped >= {f"set_0{i}" for i in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    "name", [n for n in catalog.dataset_names() if catalog.dataset_preset(n).domain == "can"]
)
def test_shipped_presets_are_valid(name: str) -> None:
    preset = catalog.dataset_preset(name)
    assert preset.name == name
    assert preset.generated == (not preset.captures)
    assert len({c.capture for c in preset.captures}) == len(preset.captures)
    for capture in preset.captures:
        assert (capture.split == "test") == bool(capture.scenario)


def test_no_shipped_recording_is_on_both_sides_of_a_split() -> None:
    for name in catalog.dataset_names():
        sides: dict[str, set[str]] = {}
        for known in catalog.dataset_preset(name).captures:
            sides.setdefault(known.base_capture or known.capture, set()).add(known.split)
        assert [base for base, splits in sides.items() if len(splits) > 1] == [], name


def test_hcrl_sa_has_seven_tests_in_four_scenarios() -> None:
    preset = catalog.dataset_preset("hcrl_sa")
    tests = [c for c in preset.captures if c.split == "test"]
    assert len(tests) == 7
    assert {c.scenario for c in tests} == {
        "known_vehicle_known_attack",
        "unknown_vehicle_known_attack",
        "known_vehicle_unknown_attack",
        "unknown_vehicle_unknown_attack",
    }
    trained = [c for c in preset.captures if c.split == "train"]
    assert {c.capture for c in trained} == {
        "attack-free-kia",
        "attack-free-sonata",
        "DoS-kia",
        "fuzzing-sonata",
    }
    for test in tests:
        assert ("unknown_vehicle" in test.scenario) == (test.vehicle not in {c.vehicle for c in trained})
        assert ("unknown_attack" in test.scenario) == (test.attack not in {c.attack for c in trained})


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(PresetNotFound, match="Did you mean 'hcrl_sa'"):
        catalog.dataset_preset("hcrlsa")


def test_a_broken_preset_says_where(settings: Settings) -> None:
    (settings.data_root / "presets" / "datasets" / "mine.yaml").write_text(
        PRESET.replace("split: train", "split: x")
    )
    with pytest.raises(ConfigError, match=r"captures\.0\.split.*mine\.yaml"):
        catalog.dataset_preset("mine", data_root=settings.data_root)


def test_files_are_found_in_the_data_root_in_any_format(
    preset: catalog.DatasetPreset, settings: Settings
) -> None:
    a = put(settings.data_root / "mine" / "one" / "a.csv.gz")
    b = put(settings.data_root / "mine" / "one" / "b.log")
    found = discover(preset, settings)
    assert [source.path for source in found] == [str(a), str(b)]
    assert found[0].sha256 == hashlib.sha256(CSV).hexdigest()
    assert found[0].base_capture == "a"
    assert found[1].model_dump(include={"split", "scenario", "vehicle", "base_capture", "attack"}) == {
        "split": "test",
        "scenario": "s",
        "vehicle": "w",
        "base_capture": "a",
        "attack": "dos",
    }


def test_a_copy_stands_in_for_an_absent_file(preset: catalog.DatasetPreset, settings: Settings) -> None:
    copy = put(settings.data_root / "mine" / "two" / "a.csv")
    put(settings.data_root / "mine" / "one" / "b.csv")
    assert discover(preset, settings)[0].path == str(copy)


def test_the_shared_pack_is_found_by_variable(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    pack = tmp_path / "pack" / "can" / "dataset=mine"
    for name in "ab":
        put(pack / "split=one" / f"{name}.parquet")
    assert len(discover(preset, settings, CANDOR_SHARED_DATA=str(tmp_path / "pack"))) == 2


def test_the_shared_pack_is_found_beside_the_checkout(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    for name in "ab":
        put(tmp_path / "shared" / "data" / "can" / "dataset=mine" / "split=one" / f"{name}.parquet")
    deep = tmp_path / "checkout" / "src"
    deep.mkdir(parents=True)
    assert len(catalog.discover(preset, settings, env={}, cwd=deep)) == 2


def test_own_files_win_over_the_shared_pack(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    own = settings.data_root / "mine" / "one"
    for name in "ab":
        put(tmp_path / "pack" / "can" / "dataset=mine" / "split=one" / f"{name}.parquet")
        put(own / f"{name}.csv")
    found = discover(preset, settings, CANDOR_SHARED_DATA=str(tmp_path / "pack"))
    assert {Path(source.path).parent for source in found} == {own}


def test_missing_files_say_where_was_looked_and_what_to_do(
    preset: catalog.DatasetPreset, settings: Settings, tmp_path: Path
) -> None:
    put(settings.data_root / "mine" / "one" / "a.csv")
    with pytest.raises(SourceMissing) as caught:
        discover(preset, settings, CANDOR_SHARED_DATA=str(tmp_path / "pack"))
    text = str(caught.value)
    for said in ("no file for b", str(settings.data_root / "mine"), str(tmp_path / "pack"), "Ask the author"):
        assert said in text


def test_a_generated_dataset_has_no_files(settings: Settings) -> None:
    assert discover(catalog.dataset_preset("synthetic"), settings) == ()


def test_the_digest_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = put(tmp_path / "a.csv"), tmp_path / "cache"
    counted = []
    compute = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda p: counted.append(p) or compute(p))
    first = catalog.digest(path, cache)
    assert catalog.digest(path, cache) == first
    assert len(counted) == 1
    put(path, CSV + b"1.2,316,02,0\n")
    os.utime(path, ns=(1, 1))
    assert catalog.digest(path, cache) != first
    assert len(counted) == 2


def test_a_damaged_digest_note_is_computed_again(tmp_path: Path) -> None:
    path, cache = put(tmp_path / "a.csv"), tmp_path / "cache"
    first = catalog.digest(path, cache)
    (note,) = (cache / "digests").iterdir()
    note.write_bytes(b"\xff\xfe")
    assert catalog.digest(path, cache) == first


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv")
    blocked = put(tmp_path / "cache", b"a file where the folder should be")
    assert catalog.digest(path, blocked) == hashlib.sha256(CSV).hexdigest()


def publish(settings: Settings, source: CaptureSource, key: str, created: str) -> Path:
    folder = settings.cache_root / "artifacts" / "ingest" / key
    folder.mkdir(parents=True)
    quiet = Quiet()
    result = ingest(
        IngestConfig(dataset="mine", sources=(source,)), Inputs({}), Output(folder, folder, quiet, quiet)
    )
    (folder / "record.json").write_text(json.dumps({"summary": result.summary, "created": created}))
    return folder


def test_the_newest_ingest_is_shown(preset: catalog.DatasetPreset, settings: Settings) -> None:
    for name in "ab":
        put(settings.data_root / "mine" / "one" / f"{name}.csv")
    a, b = discover(preset, settings)
    assert catalog.ingested("mine", settings.cache_root) is None
    publish(settings, a, "k1", "2026-01-01T00:00:00Z")
    publish(settings, b, "k2", "2026-01-02T00:00:00Z")
    (settings.cache_root / "artifacts" / "ingest" / "half").mkdir()
    newest = catalog.ingested("mine", settings.cache_root)
    assert newest is not None
    assert [row["capture"] for row in newest.captures] == ["b"]
    assert [event["attack"] for event in newest.events] == ["dos"]
    assert catalog.ingested("other", settings.cache_root) is None


def test_a_damaged_catalog_is_said_so(preset: catalog.DatasetPreset, settings: Settings) -> None:
    for name in "ab":
        put(settings.data_root / "mine" / "one" / f"{name}.csv")
    folder = publish(settings, discover(preset, settings)[0], "k1", "2026-01-01T00:00:00Z")
    (folder / "catalog.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactCorrupted, match="mine"):
        catalog.ingested("mine", settings.cache_root)


def test_what_is_planned_tells_present_from_missing_files(
    preset: catalog.DatasetPreset, settings: Settings
) -> None:
    a = put(settings.data_root / "mine" / "one" / "a.csv")
    rows = catalog.planned(preset, settings, env={}, cwd=settings.data_root)
    assert [(row["capture"], row["file"], row["rows"]) for row in rows] == [
        ("a", str(a), None),
        ("b", None, None),
    ]


def test_events_of_a_preset_reach_the_source_and_win_over_a_file_beside_the_capture(
    preset: catalog.DatasetPreset, settings: Settings
) -> None:
    own = settings.data_root / "mine" / "one"
    for name in "ab":
        put(own / f"{name}.csv")
    (own / "capture_metadata.json").write_text(json.dumps({"b": {"injection_interval": [3, 4]}}))
    interval = {"attack": "masquerade", "t_start": 1.0, "t_end": 2.0, "id": 0x6E0}

    def told(**known: object) -> object:
        captures = [c.model_dump() | known if c.capture == "b" else c.model_dump() for c in preset.captures]
        given = catalog.DatasetPreset.model_validate(preset.model_dump() | {"captures": captures})
        return next(source.events for source in discover(given, settings) if source.capture == "b")

    assert told(attack="masquerade", events=[interval]) == (AttackInterval.model_validate(interval),)
    # Absence is what is left where nobody wrote intervals down.
    beside = told(attack="suppress", events={"kind": "absence"})
    assert beside == (AttackInterval(attack="suppress", t_start=3.0, t_end=4.0),)
    (own / "capture_metadata.json").unlink()
    assert told(attack="suppress", events={"kind": "absence", "factor": 3}) == Absence(factor=3.0)


def test_suppression_of_the_shipped_sets_is_told_by_absence() -> None:
    for name in ("set_02", "set_04"):
        mute = [c for c in catalog.dataset_preset(name).captures if c.attack == "suppress"]
        assert mute
        assert all(isinstance(c.events, Absence) for c in mute)
