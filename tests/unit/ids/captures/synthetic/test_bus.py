from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.captures.synthetic.bus import arbitrate, frame_seconds, priority


def u32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint32)


def test_a_frame_lasts_as_long_as_its_bits() -> None:
    seconds = frame_seconds(u32(0x123, 0x123, 0x18FEF100), np.array([0, 8, 8], dtype=np.uint8), 500_000)
    assert np.round(seconds * 1e6).tolist() == [98.0, 238.0, 280.0]


def test_the_lowest_identifier_goes_first() -> None:
    starts = arbitrate(np.array([0.0, 0.1, 0.1, 0.1]), u32(0x700, 0x300, 0x100, 0x200), np.full(4, 0.5))
    assert starts.tolist() == [0.0, 1.5, 0.5, 1.0]


def test_a_frame_under_way_is_not_interrupted() -> None:
    assert arbitrate(np.array([0.0, 0.1]), u32(0x700, 0x000), np.full(2, 1.0)).tolist() == [0.0, 1.0]


def test_frames_of_one_identifier_keep_their_order() -> None:
    starts = arbitrate(np.array([0.0, 0.3, 0.2, 0.1]), u32(1, 5, 5, 5), np.full(4, 1.0))
    assert starts.tolist() == [0.0, 3.0, 2.0, 1.0]


def test_an_extended_identifier_loses_against_the_standard_one_with_the_same_base() -> None:
    base = 0x123
    ordered = priority(u32(base - 1, base, base << 18, (base << 18) | 1, base + 1))
    assert np.all(np.diff(ordered) > 0)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 0x7FF), st.floats(1e-4, 1e-2)), min_size=1, max_size=60
    )
)
@settings(max_examples=80, deadline=None)
def test_one_frame_at_a_time_none_early_and_never_idle_while_one_waits(
    drawn: list[tuple[float, int, float]],
) -> None:
    release = np.array([r for r, _, _ in drawn])
    ids = u32(*[i for _, i, _ in drawn])
    seconds = np.array([s for *_, s in drawn])
    start = arbitrate(release, ids, seconds)
    assert np.all(start >= release)
    order = np.argsort(start)
    ends = (start + seconds)[order]
    assert np.all(start[order][1:] >= ends[:-1] - 1e-12)
    for frame in range(len(start)):
        if start[frame] > release[frame]:
            assert np.any(np.isclose(start + seconds, start[frame], atol=1e-9))
