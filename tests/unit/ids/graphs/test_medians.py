from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_profile import naive_medians

from candor.errors import StorageFull
from candor.ids.graphs import medians as m
from candor.ids.graphs.medians import Kept, medians

Values = list[tuple[int, float]]


def found(values: Values, groups: int, *, part: int, held: int) -> np.ndarray:
    code = np.array([g for g, _ in values], np.uint32)
    value = np.array([v for _, v in values])

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for a in range(0, len(code), part):
            yield code[a : a + part], value[a : a + part]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "HELD_VALUES", held)
        return medians(parts, np.bincount(code, minlength=groups), empty=-1.0)


numbers = st.one_of(
    st.floats(0, 1e300),
    st.sampled_from([0.0, 5e-324, 1e-6, 0.01, 0.010000000000000002, 1.0]),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), numbers), max_size=200),
    st.integers(1, 50),
    st.sampled_from([1, 10, 1000]),
)
def test_medians_are_those_of_the_sorted_values(values: Values, part: int, held: int) -> None:
    code, value = np.array([g for g, _ in values], np.int64), np.array([v for _, v in values])
    expected = naive_medians(value, code, 7, empty=-1.0)
    np.testing.assert_array_equal(found(values, 7, part=part, held=held), expected)


@pytest.mark.parametrize("held", [1, 100])
def test_many_values_of_one_group_are_narrowed_down_to_one(held: int) -> None:
    rng = np.random.default_rng(0)
    value = np.round(rng.exponential(0.01, 20_001), 6)
    close = np.nextafter(0.01, 1) + np.zeros(20_000)
    for values in (value, close, np.r_[value, close], np.r_[np.full(500, 1.0), np.full(500, 2.0)]):
        pairs = [(0, float(v)) for v in values]
        assert found(pairs, 1, part=7000, held=held).tolist() == [np.median(values)]


def test_what_was_put_aside_comes_back_in_order_as_often_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(m, "_PART", 64)
    monkeypatch.setattr(m, "_SPOOLED", 1000)
    code, value = np.arange(300, dtype=np.uint32), np.linspace(0, 1, 300)
    with Kept(tmp_path / "scratch") as kept:
        kept.add(code[:100], value[:100])
        for until in (100, 300):
            for column, expected in enumerate((code, value)):
                back = np.concatenate([part[column] for part in kept.parts()])
                np.testing.assert_array_equal(back, expected[:until])
            if until == 100:
                kept.add(code[100:], value[100:])
    assert not list((tmp_path / "scratch").iterdir())


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> int:
        raise OSError(28, "No space left on device")

    with Kept() as kept:
        monkeypatch.setattr(kept._file, "write", full)
        with pytest.raises(StorageFull, match="no space left"):
            kept.add(np.zeros(1, np.uint32), np.zeros(1))
