from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from candor.config.base import Config
from candor.config.layers import (
    Layer,
    Merged,
    build,
    flatten,
    load_yaml,
    merge,
    nearest,
    origin_of,
    parse_set,
    set_layers,
)
from candor.errors import ConfigError, UnknownKey


class Gat(Config):
    kind: Literal["gat"] = "gat"
    hidden: int = 64
    heads: int = 4


class Transformer(Config):
    kind: Literal["transformer"] = "transformer"
    depth: int = 2


class Training(Config):
    max_epochs: int = 10
    rate: float = 1e-3


class Experiment(Config):
    model: Annotated[Gat | Transformer, Field(discriminator="kind")] = Gat()
    gat: Gat = Gat()
    training: Training = Training()
    seeds: tuple[int, ...] = (1,)
    variants: dict[str, Gat] = Field(default_factory=dict)


def test_later_layers_win_and_lists_replace() -> None:
    merged = merge(
        [
            Layer("a", {"training": {"max_epochs": 1, "rate": 2.0}, "seeds": [1, 2]}),
            Layer("b", {"training": {"rate": 3.0}, "seeds": [9]}),
        ]
    )
    assert merged.values == {"training": {"max_epochs": 1, "rate": 3.0}, "seeds": [9]}


def test_every_stated_value_remembers_its_layer() -> None:
    merged = merge(
        [Layer("a", {"training": {"max_epochs": 1, "rate": 2.0}}), Layer("b", {"training": {"rate": 3.0}})]
    )
    assert merged.origins == {"training.max_epochs": "a", "training.rate": "b"}
    assert origin_of("gat.hidden", merged.origins) == "default"


def test_a_layer_below_an_empty_mapping_keeps_default_as_origin_of_unstated_values() -> None:
    merged = merge([Layer("a", {"gat": {}})])
    assert origin_of("gat.hidden", merged.origins) == "default"


def test_stating_another_kind_drops_the_fields_of_the_old_kind() -> None:
    merged = merge(
        [Layer("a", {"model": {"kind": "gat", "heads": 8}}), Layer("b", {"model": {"kind": "transformer"}})]
    )
    assert merged.values == {"model": {"kind": "transformer"}}
    assert "model.heads" not in merged.origins
    assert isinstance(build(Experiment, merged).model, Transformer)


def test_a_scalar_over_a_mapping_forgets_the_origins_below_it() -> None:
    merged = merge([Layer("a", {"gat": {"hidden": 1}}), Layer("b", {"gat": None})])
    assert merged.origins == {"gat": "b"}


def test_merging_does_not_change_the_layers() -> None:
    below = {"gat": {"hidden": 1}}
    merge([Layer("a", below), Layer("b", {"gat": {"hidden": 2}})])
    assert below == {"gat": {"hidden": 1}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gat.hidden=32", {"gat": {"hidden": 32}}),
        (
            "training.rate=1e-3",
            {"training": {"rate": "1e-3"}},
        ),  # YAML 1.1 reads text; Pydantic makes it a float.
        ("seeds=[1, 2]", {"seeds": [1, 2]}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": None}),
    ],
)
def test_set_arguments_are_dotted_keys_with_yaml_values(text: str, expected: dict[str, object]) -> None:
    assert parse_set(text) == expected


@pytest.mark.parametrize("text", ["gat.hidden", "=3", "a..b=3", "a=[1"])
def test_a_malformed_set_argument_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_set(text)


def test_scientific_notation_reaches_the_model_as_a_float() -> None:
    assert build(Experiment, merge(set_layers(["training.rate=1e-3"]))).training.rate == 1e-3


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("gat.hiden", "gat.hidden"),
        ("hidden", "hidden"),
        ("trainnig.max_epochs", "training"),
        ("max_epochs", "training.max_epochs"),
    ],
)
def test_an_unknown_key_names_its_layer_and_the_nearest_valid_key(key: str, near: str) -> None:
    with pytest.raises(UnknownKey, match=f"Did you mean '.*{near}'") as caught:
        build(Experiment, merge(set_layers([f"{key}=3"])))
    assert caught.value.place == f"--set {key}"


def test_a_variant_without_its_kind_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="discriminator 'kind'"):
        build(Experiment, merge(set_layers(["model.depth=3"])))


def test_an_unknown_key_inside_a_union_member_is_named_without_the_tag() -> None:
    merged = merge([Layer("x.yaml", {"model": {"kind": "gat", "hiden": 3}})])
    with pytest.raises(UnknownKey, match=r"unknown config key 'model\.hiden' \(x\.yaml\)"):
        build(Experiment, merged)


def test_an_unknown_key_inside_a_mapping_of_models_keeps_its_name() -> None:
    with pytest.raises(UnknownKey, match=r"'variants\.teacher\.hiden'"):
        build(Experiment, merge([Layer("x.yaml", {"variants": {"teacher": {"hiden": 3}}})]))


def test_a_wrong_value_names_key_value_and_layer() -> None:
    with pytest.raises(ConfigError, match=r"'gat\.hidden': .*got 'many' \(--set gat\.hidden\)"):
        build(Experiment, merge(set_layers(["gat.hidden=many"])))


def test_an_infinite_float_is_refused() -> None:
    with pytest.raises(ConfigError):
        build(Experiment, merge(set_layers(["training.rate=.inf"])))


def test_a_yaml_file_that_states_a_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("gat: {hidden: 1}\ngat: {heads: 2}\n")
    with pytest.raises(ConfigError, match="'gat' is stated twice"):
        load_yaml(tmp_path / "x.yaml")


@pytest.mark.parametrize("text", ["- 1\n", "3", "a: [", "1: 2"])
def test_a_yaml_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_yaml(tmp_path / "x.yaml")


def test_an_empty_yaml_file_states_nothing(tmp_path: Path) -> None:
    (tmp_path / "ä b.yaml").write_text("# nothing\n", encoding="utf-8")
    assert load_yaml(tmp_path / "ä b.yaml").values == {}


def test_a_missing_yaml_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(tmp_path / "none.yaml")


def test_flatten_lists_leaves_in_order() -> None:
    assert list(flatten({"a": {"b": 1, "c": [1]}, "d": {}, "e": None})) == [
        ("a.b", 1),
        ("a.c", [1]),
        ("d", {}),
        ("e", None),
    ]


def test_nothing_close_means_no_suggestion() -> None:
    assert nearest("zzzzzz", ["gat.hidden", "training"]) is None


def test_an_empty_merge_builds_the_defaults() -> None:
    assert build(Experiment, Merged()) == Experiment()
