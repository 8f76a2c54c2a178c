"""YAML layers merged from general to special; every value remembers the layer it came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from candor.config.fields import dotted_keys
from candor.errors import ConfigError, UnknownKey

ModelT = TypeVar("ModelT", bound=BaseModel)

#: Origin of a value that no layer states.
DEFAULT = "default"


@dataclass(frozen=True)
class Layer:
    """Values of one source; ``name`` is what ``candor config show --origin`` prints (a file, ``--set gat.hidden``)."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Merged:
    """The sum of layers.

    Attributes:
        values: nested mapping, later layers win.
        origins: dotted key of each stated value → name of the layer that stated it last.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def merge(layers: Iterable[Layer]) -> Merged:
    """Merge layers in order: mappings merge deeply, scalars and lists replace.

    A mapping that states another ``kind`` than the one below replaces it whole: the fields of the old variant mean
    nothing to the new one.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        _overlay(values, layer.values, layer.name, origins, "")
    return Merged(values, origins)


def _overlay(
    into: dict[str, Any], values: Mapping[str, Any], name: str, origins: dict[str, str], at: str
) -> None:
    for key, value in values.items():
        dotted = f"{at}{key}"
        below = into.get(key)
        if not isinstance(value, Mapping):
            _forget(origins, dotted)
            into[key], origins[dotted] = value, name
            continue
        other_kind = (
            isinstance(below, dict) and "kind" in value and below.get("kind", value["kind"]) != value["kind"]
        )
        if not isinstance(below, dict) or other_kind:
            _forget(origins, dotted)
            into[key] = {}
        if not value:
            origins.setdefault(dotted, name)
        _overlay(into[key], value, name, origins, dotted + ".")


def _forget(origins: dict[str, str], dotted: str) -> None:
    for known in [k for k in origins if k == dotted or k.startswith(dotted + ".")]:
        del origins[known]


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key stated twice; plain YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag != "tag:yaml.org,2002:merge" and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is stated twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: Path, *, name: str | None = None) -> Layer:
    """Read one YAML file as a layer. Raises ConfigError if it is missing, malformed or no mapping."""
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_UniqueKeyLoader)  # A SafeLoader.
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read the config file: {e}", place=name) from e
    except yaml.YAMLError as e:
        raise ConfigError(f"not valid YAML: {' '.join(str(e).split())}", place=name) from e
    if values is None:
        values = {}
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise ConfigError("a config file must be a mapping of names to values", place=name)
    return Layer(name, values)


def parse_set(text: str) -> dict[str, Any]:
    """``gat.hidden=32`` → ``{"gat": {"hidden": 32}}``; the value is YAML. Raises ConfigError if malformed."""
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"cannot read '{text}'", place="--set", hint="Write it as a.b=value.")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as e:
        raise ConfigError(f"the value of '{key}' is not valid YAML: {raw!r}", place="--set") from e
    for part in reversed(parts):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def set_layers(sets: Iterable[str]) -> list[Layer]:
    """One layer per ``--set`` argument, named so that ``--origin`` shows it came from the command line."""
    return [Layer(f"--set {text.partition('=')[0].strip()}", parse_set(text)) for text in sets]


def build(model: type[ModelT], merged: Merged) -> ModelT:
    """Validate merged values.

    Raises:
        UnknownKey: a key that ``model`` does not have; names the layer it came from and the nearest valid key.
        ConfigError: any other violation; names key, layer, value and what was expected.
    """
    try:
        return model.model_validate(merged.values)
    except ValidationError as e:
        errors = e.errors(include_url=False)
        unknown = [err for err in errors if err["type"] == "extra_forbidden"]
        if unknown:
            raise _unknown_key(model, merged, _path(merged.values, unknown[0]["loc"]), len(unknown)) from None
        raise _invalid(merged, errors[0], len(errors)) from None


def _path(values: Any, loc: tuple[int | str, ...]) -> str:
    """Dotted key of a Pydantic location, without the union tags Pydantic puts between."""
    parts: list[str] = []
    for i, part in enumerate(loc):
        in_mapping = isinstance(values, Mapping) and part in values
        in_list = isinstance(values, list | tuple) and isinstance(part, int) and part < len(values)
        if in_mapping or in_list:
            values = values[part]
        elif isinstance(values, Mapping) and i + 1 == len(loc):
            values = None  # A missing field: nothing below.
        else:
            continue
        parts.append(str(part))
    return ".".join(parts)


def _place(merged: Merged, key: str) -> str | None:
    exact = merged.origins.get(key)
    below = next((v for k, v in merged.origins.items() if k.startswith(key + ".")), None)
    above = next((v for k, v in merged.origins.items() if key.startswith(k + ".")), None)
    return exact or below or above


def _unknown_key(model: type[BaseModel], merged: Merged, key: str, count: int) -> UnknownKey:
    near = nearest(key, dotted_keys(model))
    more = f" (and {count - 1} more)" if count > 1 else ""
    hint = f"Did you mean '{near}'?" if near else "See `candor config show` for every key."
    return UnknownKey(f"unknown config key '{key}'{more}", place=_place(merged, key), hint=hint)


def _invalid(merged: Merged, error: Any, count: int) -> ConfigError:
    key = _path(merged.values, error["loc"]) or "config"
    got = "" if error["type"] in ("missing", "value_error") else f", got {error['input']!r:.80}"
    more = f" (and {count - 1} more)" if count > 1 else ""
    return ConfigError(f"'{key}': {error['msg']}{got}{more}", place=_place(merged, key))


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to ``word``: by its last part if that is exact, else by spelling; None if none is close."""
    valid = list(valid)
    leaf = word.rsplit(".", 1)[-1]
    same_leaf = [v for v in valid if v.rsplit(".", 1)[-1] == leaf]
    for pool, cutoff in ((same_leaf, 0.0), (valid, 0.6)):
        if found := difflib.get_close_matches(word, pool, n=1, cutoff=cutoff):
            return found[0]
    by_leaf = {v.rsplit(".", 1)[-1]: v for v in valid}
    found = difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.75)
    return by_leaf[found[0]] if found else None


def flatten(values: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as (dotted key, value); lists and empty mappings are leaves."""
    if isinstance(values, Mapping) and (values or at):
        if not values:
            yield at, {}
        for key, value in values.items():
            yield from flatten(value, f"{at}.{key}" if at else str(key))
    elif at:
        yield at, values


def origin_of(key: str, origins: Mapping[str, str]) -> str:
    """Layer that stated ``key``; ``default`` if none did."""
    return origins.get(key, DEFAULT)
