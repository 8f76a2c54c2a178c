from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from candor.config.base import Config, Later, Runtime
from candor.config.fingerprint import canonical, digest, science
from candor.errors import ConfigError


class Loader(Config):
    batch: int = 8
    workers: Annotated[int, Runtime] = 2


class Cnn(Config):
    kind: Literal["cnn"] = "cnn"
    width: int = 3
    device: Annotated[str, Runtime] = "auto"


class Mlp(Config):
    kind: Literal["mlp"] = "mlp"
    depth: int = 3


Model = Annotated[Cnn | Mlp, Field(discriminator="kind")]


class Machine(Config):
    gpus: int = 1


class Everything(Config):
    seed: int = 0
    rate: float = 0.1
    device: Annotated[str, Runtime] = "cpu"
    machine: Annotated[Machine, Runtime] = Machine()
    threads: Annotated[int, Runtime] | None = None
    loader: Loader = Loader()
    model: Model = Cnn()
    stack: tuple[Model, ...] = (Cnn(), Mlp())
    named: dict[str, Loader] = Field(default_factory=lambda: {"a": Loader()})
    tags: frozenset[str] = frozenset({"x", "y", "z"})
    source: Annotated[Path, Runtime] = Path("somewhere")


def key(**changes: Any) -> str:
    return digest(science(Everything.model_validate({**Everything().model_dump(), **changes})))


SCIENCE = {
    "seed": 1,
    "rate": 0.2,
    "loader": {"batch": 9},
    "model": {"kind": "mlp"},
    "stack": [{"kind": "cnn", "width": 4}, {"kind": "mlp"}],
    "named": {"b": {}},
    "tags": ["x"],
}
RUNTIME = {
    "device": "cuda",
    "machine": {"gpus": 8},
    "threads": 4,
    "loader": {"workers": 9},
    "model": {"kind": "cnn", "device": "cuda"},
    "stack": [{"kind": "cnn", "device": "mps"}, {"kind": "mlp"}],
    "named": {"a": {"workers": 5}},
    "source": "elsewhere",
}


@pytest.mark.parametrize("name", SCIENCE)
def test_changing_a_science_field_changes_the_fingerprint(name: str) -> None:
    assert key(**{name: SCIENCE[name]}) != key()


@pytest.mark.parametrize("name", RUNTIME)
def test_changing_a_runtime_field_keeps_the_fingerprint(name: str) -> None:
    assert key(**{name: RUNTIME[name]}) == key()


def test_every_field_is_covered_above() -> None:
    assert set(SCIENCE) | set(RUNTIME) == set(Everything.model_fields)


@given(st.integers(), st.integers(), st.text(), st.integers(min_value=0))
def test_the_fingerprint_depends_on_science_alone(seed: int, batch: int, device: str, workers: int) -> None:
    def build(device: str, workers: int) -> Everything:
        loader = Loader(batch=batch, workers=workers)
        return Everything(seed=seed, device=device, loader=loader, named={"ä": loader})

    assert digest(science(build(device, workers))) == digest(science(build("cpu", 1)))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_floats_that_differ_in_the_last_bit_differ(a: float, b: float) -> None:
    assert (digest(a) == digest(b)) == (repr(a) == repr(b))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_canonical_json_is_json_and_ignores_the_order_of_keys(value: Any) -> None:
    def turned(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: turned(x) for k, x in reversed(v.items())}
        return [turned(x) for x in v] if isinstance(v, list) else v

    assert canonical(turned(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("nan")}], object(), {1, 2}])
def test_what_json_has_no_word_for_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError):
        digest(value)


def test_a_whole_number_and_its_float_are_the_same_in_a_float_field() -> None:
    assert key(rate=1) == key(rate=1.0)


class Before(Config):
    seed: int = 1


class Since(Config):
    seed: int = 1
    devices: Annotated[int, Later] = 1


class Holder(Config):
    inner: Since = Since()


def test_a_field_that_came_later_counts_only_where_it_is_set() -> None:
    assert digest(science(Since())) == digest(science(Since(devices=1))) == digest(science(Before()))
    assert digest(science(Since(devices=2))) != digest(science(Since()))
    assert science(Holder(inner=Since(devices=3))) == {"inner": {"seed": 1, "devices": 3}}
    assert science(Holder()) == {"inner": {"seed": 1}}


def test_the_digest_is_pinned() -> None:
    # A change here orphans every published artifact: raise it in the changelog.
    assert (
        digest({"b": 1, "a": [0.1, "ü", None]})
        == "4cbeb408e1688bfa48cc74846f466a39f4eec197d06481e2711eb6abb1b8eb38"
    )
    assert canonical({"b": 1, "a": [0.1, "ü", None]}) == '{"a":[0.1,"ü",null],"b":1}'


def test_sets_hash_the_same_in_every_process() -> None:
    code = (
        "from candor.config.base import Config\n"
        "from candor.config.fingerprint import digest, science\n"
        "class C(Config):\n    tags: frozenset[str] = frozenset('abcdefgh')\n"
        "print(digest(science(C())))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
