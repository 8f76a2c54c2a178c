import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.ids.captures.cursor import Cursor


def cursor(parts: list[np.ndarray]) -> Cursor[np.ndarray]:
    return Cursor(iter(parts), lambda part, rows: part[rows], np.concatenate)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9))),
)
def test_rows_are_those_of_the_whole_however_it_comes(sizes: list[int], steps: list[tuple[int, int]]) -> None:
    whole = np.arange(sum(sizes))
    reader, a, b = cursor(np.split(whole, np.cumsum(sizes)[:-1])), 0, 0
    for skip, width in steps:
        a = min(a + skip, b)
        b = max(b, a + width)
        if b > len(whole):
            break
        assert reader.rows(a, b).tolist() == whole[a:b].tolist()


def test_only_what_is_still_wanted_is_held() -> None:
    parts = [np.arange(3), np.arange(3, 6), np.arange(6, 9)]
    reader = cursor(parts)
    reader.rows(0, 9)
    assert np.shares_memory(reader.rows(7, 9), parts[2])
    assert len(reader._held) == 1


def test_rows_that_are_left_out_are_not_held_until_the_next_ones_are_found() -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def parts() -> Iterator[np.ndarray]:
        for i in range(10):
            assert sum(ref() is not None for ref in alive) <= 2
            part = np.arange(3 * i, 3 * i + 3)
            alive.append(weakref.ref(part))
            yield part
            del part

    reader = Cursor(parts(), lambda part, rows: part[rows], np.concatenate)
    reader.rows(0, 2)
    assert reader.rows(27, 30).tolist() == [27, 28, 29]


def test_rows_behind_the_end_are_refused() -> None:
    with pytest.raises(IndexError, match="has 3 rows, not 4"):
        cursor([np.arange(3)]).rows(0, 4)
