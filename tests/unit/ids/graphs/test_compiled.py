"""The compiled passes against the NumPy reference: integers equal, features within 1e-6."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from graph_cases import bus, flood, frames
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.ids.captures.frame_file import FrameArray
from candor.ids.captures.frames import ERROR, FrameArrays
from candor.ids.config import SplitConfig, TimeWindowConfig
from candor.ids.graphs import blocks, kernels_reference, pieces, stream_reference
from candor.ids.graphs.blocks import build_blocks
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.kernels import build_ranges, build_windows
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import prepare, relate
from candor.ids.graphs.windows import Side, ranges_of, split_ranges


def profile_of(f: FrameArrays) -> Profile:
    return measure([prepare(f)], kind="attack_free", vehicle="v", source=["c"])


def assert_same(got: object, expected: object) -> None:
    for name in [f.name for f in fields(expected)]:  # type: ignore[arg-type]
        a, b = getattr(got, name), getattr(expected, name)
        if not isinstance(b, np.ndarray):
            assert a == b or name == "profile"
        elif b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert a.dtype == b.dtype


@st.composite
def captures(draw: st.DrawFn) -> FrameArrays:
    n = draw(st.integers(2, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.choice([0.0, 1e-4, 1e-3, 0.05, -2e-4], size=n, p=[0.1, 0.4, 0.3, 0.15, 0.05])
    flags = rng.choice([0, 1, 2, 4, 8, 9], size=n, p=[0.6, 0.1, 0.1, 0.05, 0.1, 0.05])
    dlc = np.where(flags & 8, rng.choice([8, 12, 64], size=n), rng.integers(0, 9, n))
    return frames(
        np.cumsum(steps) - steps[0],
        rng.integers(0, draw(st.sampled_from([1, 3, 12, 1 << 29])), n),
        data=rng.integers(0, draw(st.sampled_from([2, 256])), (n, 8)),
        dlc=dlc,
        y=rng.integers(0, 2, n) * draw(st.integers(0, 1)),
        flags=flags,
    )


@settings(max_examples=80, deadline=None)
@given(captures(), captures(), st.integers(2, 150), st.integers(1, 40), st.integers(1, 3))
def test_compiled_graphs_equal_the_numpy_reference(
    f: FrameArrays, calibration: FrameArrays, width: int, stride: int, min_attack_frames: int
) -> None:
    profile = profile_of(calibration)
    stream, reference = prepare(f), stream_reference.prepare(f)
    assert_same(stream, reference)
    relative, expected = relate(stream, profile), stream_reference.relate(reference, profile)
    assert_same(relative, expected)
    start = np.arange(0, len(stream) - width + 1, stride)
    if not len(start):
        return
    options = {"window_frames": width, "min_attack_frames": min_attack_frames}
    assert_same(
        build_windows(stream, relative, start, **options),
        kernels_reference.build_windows(reference, expected, start, **options),
    )


def test_thousands_of_ids_and_long_windows_equal_the_numpy_reference() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    f = frames(
        np.arange(n) * 1e-4, rng.integers(0, 1 << 29, n) % 5000 << 12, data=rng.integers(0, 256, (n, 8))
    )
    stream = prepare(f)
    relative = relate(stream, profile_of(f))
    start = np.arange(0, n - 6000, 1500)
    assert_same(
        build_windows(stream, relative, start, window_frames=6000),
        kernels_reference.build_windows(stream, relative, start, window_frames=6000),
    )


def test_time_windows_equal_the_reference_window_by_window() -> None:
    f = flood(bus(3.0), 1.0, 1.5)
    stream = prepare(f)
    relative = relate(stream, profile_of(bus(2.0, seed=1)))
    window = TimeWindowConfig(window_s=0.1, stride_s=0.06)
    start, stop = split_ranges(stream.t_n, "test", window, SplitConfig())
    assert len(set((stop - start).tolist())) > 3
    whole = build_ranges(stream, relative, start, stop)
    node = edge = 0
    for i, (a, b) in enumerate(zip(start, stop, strict=True)):
        one = kernels_reference.build_windows(stream, relative, np.array([a]), window_frames=int(b - a))
        nodes, edges = int(whole.node_counts_G[i]), int(whole.edge_counts_G[i])
        assert (nodes, edges) == (len(one.x_ND), len(one.edge_attr_E11))
        np.testing.assert_allclose(whole.x_ND[node : node + nodes], one.x_ND, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(whole.edge_index_2E[:, edge : edge + edges], one.edge_index_2E)
        assert whole.t1_G[i] - whole.t0_G[i] <= window.window_s
        node, edge = node + nodes, edge + edges


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([-2e-4, 0.0, 1e-3, 0.01, 0.3]), min_size=1, max_size=80),
    st.lists(st.integers(1, 80), max_size=6),
    st.sampled_from([(0.1, 0.1), (0.1, 0.03), (0.02, 0.05)]),
    st.sampled_from(["train", "val", "test"]),
)
def test_time_windows_do_not_depend_on_how_the_times_come(
    steps: list[float], cuts: list[int], window: tuple[float, float], side: Side
) -> None:
    t = np.cumsum(steps)
    config = TimeWindowConfig(window_s=window[0], stride_s=window[1])
    split = SplitConfig(blocks=3, validation_every=2, validation_offset=1, embargo_frames=1)
    parts = np.split(t, sorted({c for c in cuts if c < len(t)}))
    whole = split_ranges(t, side, config, split)
    np.testing.assert_array_equal(ranges_of(len(t), lambda: parts, side, config, split), whole)
    for a, b in zip(*whole, strict=True):
        assert b - a >= 2
        assert np.maximum.accumulate(t[a:b])[-1] - t[a] <= window[0] + 1e-9


def test_time_windows_stay_on_their_side_of_the_split_and_skip_silence() -> None:
    t = np.r_[np.arange(0, 1, 0.01), np.arange(3, 4, 0.01)]
    split = SplitConfig(blocks=4, validation_every=2, validation_offset=1, embargo_frames=3)
    window = TimeWindowConfig(window_s=0.1, stride_s=0.1)
    sides = {side: split_ranges(t, side, window, split) for side in ("train", "val", "test")}
    train, val = (
        {i for a, b in zip(*sides[side], strict=True) for i in range(a, b)} for side in ("train", "val")
    )
    assert train
    assert val
    assert min(abs(i - j) for i in train for j in val) > 3
    assert all(b - a >= 2 for a, b in zip(*sides["test"], strict=True))
    assert not any(a < 100 < b - 1 and t[b - 1] - t[a] > 0.1 for a, b in zip(*sides["test"], strict=True))
    assert len(split_ranges(t[:1], "test", window, split)[0]) == 0


@pytest.mark.parametrize("piece_events", [1 << 18, 333, 1])
@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_blocks_and_threads_change_nothing(
    threads: int, piece_events: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    f, profile = flood(bus(3.0), 1.0, 1.5), profile_of(bus(2.0, seed=1))
    f.flags[100:110] |= ERROR
    stream = prepare(f)
    relative = relate(stream, profile)
    start = np.r_[np.arange(0, 900, 7), np.arange(1300, len(stream) - 50, 7)]
    whole = build_windows(stream, relative, start, window_frames=50)
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", 1000)
    monkeypatch.setattr(pieces, "PIECE_EVENTS", piece_events)
    parts = list(build_blocks(FrameArray(f), profile, (start, start + 50), threads=threads))
    assert len(parts) > 5
    assert [first for first, _ in parts] == np.cumsum([0, *(len(g) for _, g in parts)])[:-1].tolist()
    for name in [f.name for f in fields(PackedGraphs)]:
        axis = 1 if name == "edge_index_2E" else 0
        joined = np.concatenate([getattr(g, name) for _, g in parts], axis=axis)
        np.testing.assert_array_equal(joined, getattr(whole, name))


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 11), (3, 4)])
def test_a_window_outside_the_stream_or_without_a_transition_is_refused(start: int, stop: int) -> None:
    stream = prepare(frames(np.arange(10) * 0.01, [1] * 10))
    relative = relate(stream, profile_of(bus(1.0)))
    with pytest.raises(IndexError, match="inside the stream's 10 frames"):
        build_ranges(stream, relative, np.array([start]), np.array([stop]))
