import os

import pytest

from candor.config.settings import Settings
from candor.errors import ConfigError, PresetNotFound, SourceMissing, UnknownKey
from candor.ids.experiment import resolve


@pytest.fixture
def settings(tmp_path):
    return Settings(data_root=tmp_path / "data", cache_root=tmp_path / "cache", run_root=tmp_path)


def kd(settings, *sets, **more):
    return resolve("kd", "synthetic", sets, settings=settings, **more)


def test_a_shared_section_holds_for_every_variant_over_its_scale(settings):
    config, origins = kd(settings, "gat.hidden=48")
    assert {v.gat.hidden for v in config.variants.values()} == {48}
    assert origins["variants.teacher.gat.hidden"] == "--set gat.hidden"
    assert origins["variants.teacher.vgae.hidden"] == "presets/models/large.yaml"
    assert origins["variants.student.vgae.hidden"] == "presets/models/small.yaml"


def test_one_variant_can_be_set_alone(settings):
    config, _ = kd(settings, "gat.hidden=48", "variants.teacher.gat.hidden=96")
    assert config.variants["teacher"].gat.hidden == 96
    assert config.variants["student"].gat.hidden == 48


def test_seeds_and_allowed_findings_come_from_their_flags(settings):
    config, origins = kd(settings, seeds=[3, 1], allow=["label_sanity"])
    assert config.seeds == (3, 1)
    assert config.audit_allow == ("label_sanity",)
    assert (origins["seeds"], origins["audit_allow"]) == ("--seed", "--allow")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gat.hiden=3", "gat.hidden"),
        ("training.max_epoch=3", "training.max_epochs"),
        ("window.window_frame=50", "window.window_frames"),
        ("gat.conv.num_head=2", "gat.conv.num_heads"),
    ],
)
def test_a_mistyped_key_is_answered_in_the_words_it_was_typed_in(settings, typed, meant):
    with pytest.raises(UnknownKey) as error:
        kd(settings, typed)
    assert f"'{typed.partition('=')[0]}'" in error.value.fact
    assert "more" not in error.value.fact
    assert error.value.hint == f"Did you mean '{meant}'?"


def test_a_convolution_keeps_its_kind_when_only_a_field_is_set(settings):
    config, _ = kd(settings, "gat.conv.num_heads=8")
    assert config.variants["teacher"].gat.conv.kind == "gatv2"
    config, _ = kd(settings, "gat.conv.kind=transformer")
    assert config.variants["teacher"].gat.conv.kind == "transformer"
    with pytest.raises(ConfigError, match="gat, gatv2, transformer, gps, cugraph_gat or cugraph_gatv2"):
        kd(settings, "gat.conv.kind=gcn")


def test_a_new_variant_needs_a_scale(settings):
    with pytest.raises(ConfigError, match="variant 'tiny' has no scale"):
        kd(settings, "variants.tiny.gat.hidden=8")
    config, _ = kd(settings, "variants.tiny.scale=small", "variants.tiny.gat.hidden=8")
    assert config.variants["tiny"].gat.hidden == 8


def test_unknown_names_are_answered_with_the_nearest(settings):
    with pytest.raises(PresetNotFound, match="synthetic"):
        resolve("kd", "syntetic", settings=settings)
    with pytest.raises(PresetNotFound, match="kd"):
        resolve("kdd", "synthetic", settings=settings)
    with pytest.raises(PresetNotFound, match="large"):
        kd(settings, "variants.teacher.scale=larg")


def test_only_a_generated_dataset_is_generated(settings, tmp_path, monkeypatch):
    assert kd(settings)[0].synthetic is not None
    assert kd(settings, "synthetic.seed=4")[0].synthetic.seed == 4
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDOR_SHARED_DATA", os.fspath(tmp_path))
    with pytest.raises(SourceMissing, match="attack-free-kia"):
        resolve("kd", "hcrl_sa", settings=settings)


def test_a_user_preset_in_the_data_root_extends_what_is_shipped(settings):
    folder = settings.data_root / "presets" / "experiments"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("variants: {only: {scale: small}}\ntraining: {max_epochs: 2}\n")
    config, _ = resolve("mine", "synthetic", settings=settings)
    assert list(config.variants) == ["only"]
    assert config.variants["only"].training.max_epochs == 2


def test_a_mistyped_key_is_told_before_a_missing_file(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDOR_SHARED_DATA", os.fspath(tmp_path))
    with pytest.raises(UnknownKey, match=r"gat\.hiden"):
        resolve("kd", "hcrl_sa", ["gat.hiden=32"], settings=settings)


def test_a_negative_seed_is_refused_before_anything_runs(settings):
    with pytest.raises(ConfigError, match="seeds"):
        kd(settings, seeds=[-1])


def test_controls_are_configured_like_everything_else(settings):
    assert kd(settings, "controls.early_share=0.4")[0].controls.early_share == 0.4
