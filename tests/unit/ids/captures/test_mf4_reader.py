"""Groups of an MF4 come out as one sequence in order of time, with a block of each in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from candor.ids.captures.mf4_reader import merged

Group = list[list[float]]


def blocks(group: Group, name: int, drawn: list[int]) -> Iterator[pa.Table]:
    for times in group:
        drawn.append(name)
        yield pa.table({"t": pa.array(times, pa.float64()), "of": pa.array([name] * len(times), pa.int64())})


def cut(times: list[int], size: int) -> Group:
    ordered = [float(t) for t in sorted(times)]
    return [ordered[at : at + size] for at in range(0, len(ordered), size)]


@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=4), st.integers(1, 7))
def test_nothing_is_lost_and_everything_in_order(groups: list[list[int]], size: int) -> None:
    out = list(merged([blocks(cut(times, size), name, []) for name, times in enumerate(groups)]))
    rows = [row for table in out for row in zip(table["t"].to_pylist(), table["of"].to_pylist(), strict=True)]
    assert [t for t, _ in rows] == sorted(float(t) for times in groups for t in times)
    assert sorted(rows) == sorted((float(t), name) for name, times in enumerate(groups) for t in times)


def test_a_group_is_read_only_as_far_as_the_others_are() -> None:
    drawn: list[int] = []
    early, late = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [[2.5, 9.0], [10.0]]
    out = merged([blocks(early, 0, drawn), blocks(late, 1, drawn)])
    assert next(out)["t"].to_pylist() == [0.0, 1.0]
    assert drawn == [0, 1]
    assert next(out)["t"].to_pylist() == [2.0, 2.5, 3.0]
    assert drawn == [0, 1, 0]


def test_times_that_go_back_inside_a_group_lose_no_frame() -> None:
    out = list(merged([blocks([[5.0, 1.0], [2.0]], 0, []), blocks([[], [3.0]], 1, [])]))
    assert sorted(t for table in out for t in table["t"].to_pylist()) == [1.0, 2.0, 3.0, 5.0]
