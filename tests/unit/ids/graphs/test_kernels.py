from __future__ import annotations

import numpy as np
import pytest
from graph_cases import bus, flood, frames
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_graph import graph, rows_of

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.features import EDGE_NAMES, NODE_NAMES, columns
from candor.ids.graphs.kernels import PackedGraphs, build_windows
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.stream import prepare, relate
from candor.ids.graphs.vocabulary import EXTENDED_BIT


def profile_of(f: FrameArrays) -> Profile:
    return measure([prepare(f)], kind="attack_free", vehicle="v", source=["c"])


def build(f: FrameArrays, profile: Profile, starts: list[int], width: int) -> PackedGraphs:
    stream = prepare(f)
    return build_windows(stream, relate(stream, profile), np.asarray(starts, np.int64), window_frames=width)


def column(g: PackedGraphs, name: str) -> np.ndarray:
    return g.x_ND[:, NODE_NAMES.index(name)]


def assert_equals_naive(f: FrameArrays, profile: Profile, starts: list[int], width: int) -> None:
    g = build(f, profile, starts, width)
    rows = rows_of(f)
    node, edge = 0, 0
    for i, start in enumerate(starts):
        want = graph(rows, start, width, profile)
        n, e = int(g.node_counts_G[i]), int(g.edge_counts_G[i])
        assert g.node_id_N[node : node + n].tolist() == want["keys"]
        for name, got, expected in zip(
            NODE_NAMES, g.x_ND[node : node + n].T, np.array(want["x"]).T, strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6, err_msg=f"{name} in window {i}")
        ends = [tuple(p) for p in g.edge_index_2E[:, edge : edge + e].T.tolist()]
        assert ends == sorted(want["edges"], key=lambda p: (p[1], p[0]))
        for j, pair in enumerate(ends):
            np.testing.assert_allclose(
                g.edge_attr_E11[edge + j], want["edges"][pair], rtol=1e-5, atol=1e-6, err_msg=str(EDGE_NAMES)
            )
        assert g.y_G[i] == want["y"]
        assert g.node_y_N[node : node + n].tolist() == want["node_y"]
        node, edge = node + n, edge + e
    assert (node, edge) == (len(g.x_ND), len(g.edge_attr_E11))


@st.composite
def captures(draw: st.DrawFn) -> FrameArrays:
    n = draw(st.integers(8, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.choice([0.0, 1e-4, 1e-3, 0.05, -2e-4], size=n, p=[0.1, 0.4, 0.3, 0.15, 0.05])
    flags = rng.choice([0, 1, 2, 4, 8, 9], size=n, p=[0.6, 0.1, 0.1, 0.05, 0.1, 0.05])
    dlc = np.where(flags & 8, rng.choice([8, 12, 64], size=n), rng.integers(0, 9, n))
    return frames(
        np.cumsum(steps) - steps[0],
        rng.integers(0, draw(st.integers(1, 12)), n),
        data=rng.integers(0, draw(st.sampled_from([2, 256])), (n, 8)),
        dlc=dlc,
        y=rng.integers(0, 2, n) * draw(st.integers(0, 1)),
        flags=flags,
    )


@settings(max_examples=60, deadline=None)
@given(captures(), captures(), st.integers(2, 12), st.integers(1, 9))
def test_every_feature_equals_the_naive_per_window_reference(
    f: FrameArrays, calibration: FrameArrays, width: int, stride: int
) -> None:
    starts = list(range(0, len(rows_of(f)) - width + 1, stride))
    assert_equals_naive(f, profile_of(calibration), starts, width)


def test_realistic_traffic_under_attack_equals_the_naive_reference() -> None:
    f = flood(bus(1.0), 0.4, 0.6)
    assert_equals_naive(f, profile_of(bus(2.0, seed=1)), list(range(0, 400, 37)), 50)


def test_no_nan_or_infinity_leaves_the_kernel_whatever_the_timestamps() -> None:
    f = frames([0.0] * 30 + [1e9] * 30, [1, 2, 3] * 20)
    g = build(f, profile_of(frames([0.0], [1])), [0, 10, 30], 30)
    assert np.isfinite(g.x_ND).all()
    assert np.isfinite(g.edge_attr_E11).all()


def test_an_id_new_to_the_profile_is_neutral_but_for_its_novelty() -> None:
    g = build(frames(np.arange(10) * 0.01, [5] * 10, y=[1] * 10), profile_of(bus(1.0)), [0], 10)
    relative = [
        "rate_log_ratio",
        "interval_log_ratio_mean",
        "early_share",
        "payload_change",
        "byte_novelty",
        "dlc_novel",
    ]
    assert all(column(g, name)[0] == 0 for name in relative)
    assert column(g, "id_novel")[0] == 1
    assert column(g, "window_novel_share")[0] == 1


def test_dt_reaches_across_the_window_edge_but_not_before_the_capture() -> None:
    period = frames(np.arange(100) * 0.01, [7] * 100)
    fast = frames(np.r_[np.arange(10) * 0.01, 0.091, 0.2], [7] * 12)
    g = build(fast, profile_of(period), [0, 10], 2)
    assert column(g, "early_density").tolist() == [0.0, 0.5]
    assert column(g, "early_share").tolist() == pytest.approx([0.0, 1 / (2 + 8)])


def test_an_injected_copy_of_an_id_is_early_and_its_absence_is_missing() -> None:
    profile = profile_of(bus(5.0))
    injected = build(flood(bus(1.0, seed=2), 0.0, 1.0, identifier=0x105), profile, [100], 100)
    assert column(injected, "early_share").max() > 0.8
    quiet = bus(1.0, seed=2)
    keep = quiet.id != 0x100
    silent = frames(quiet.t[keep], quiet.id[keep], data=quiet.data[keep])
    assert column(build(silent, profile, [100], 100), "window_missing")[0] > 0.3
    assert column(build(quiet, profile, [100], 100), "window_missing")[0] < 0.02


def test_one_odd_frame_of_a_slow_id_weighs_less_than_many_of_a_fast_one() -> None:
    slow, fast = frames(np.arange(50) * 0.1, [7] * 50), frames(np.arange(50) * 0.01, [7] * 50)
    once = build(frames([0.0, 0.02], [7, 7]), profile_of(slow), [0], 2)
    often = build(frames(np.arange(50) * 0.001, [7] * 50), profile_of(fast), [0], 50)
    assert column(once, "early_share")[0] < 0.15
    assert column(often, "early_share")[0] > 0.8


def test_a_flood_shortens_the_window_against_the_profile() -> None:
    profile = profile_of(bus(5.0))
    calm, flooded = (build(f, profile, [100], 100) for f in (bus(1.0), flood(bus(1.0), 0.0, 1.0)))
    assert abs(column(calm, "window_load")[0]) < 0.15
    assert column(flooded, "window_load")[0] > 0.5


def test_extended_and_standard_ids_of_one_number_are_two_nodes() -> None:
    g = build(frames(np.arange(4) * 0.01, [5] * 4, flags=[0, 1, 0, 1]), profile_of(bus(1.0)), [0], 4)
    assert g.node_id_N.tolist() == [5, 5 | int(EXTENDED_BIT)]


def test_error_frames_are_left_out_and_counted() -> None:
    f = frames(np.arange(6) * 0.01, [1, 0, 2, 0, 1, 2], flags=[0, 4, 0, 4, 0, 0])
    assert prepare(f).num_errors == 2
    assert build(f, profile_of(bus(1.0)), [0], 4).node_id_N.tolist() == [1, 2]


def test_remote_frames_arrive_but_carry_no_payload() -> None:
    f = frames(np.arange(4) * 0.01, [1] * 4, data=np.full((4, 8), 9), dlc=4, flags=[0, 2, 2, 0])
    g = build(f, profile_of(f), [0], 4)
    assert column(g, "share")[0] == 1
    assert column(g, "dlc_mean")[0] == 0.5
    assert column(g, "payload_change_abs")[0] == 0
    assert column(g, "byte_0_mean")[0] == pytest.approx(9 / 255)


def test_fd_lengths_have_their_own_dlc_bits() -> None:
    short, long = (frames(np.arange(4) * 0.01, [1] * 4, dlc=d, flags=8) for d in (48, 64))
    g = build(long, profile_of(short), [0], 4)
    assert column(g, "dlc_novel")[0] == pytest.approx(4 / (4 + 8))
    assert column(g, "dlc_mean")[0] == 8


def test_a_window_of_one_repeated_id_is_a_self_loop() -> None:
    g = build(frames(np.arange(5) * 0.01, [3] * 5), profile_of(bus(1.0)), [0], 5)
    assert g.edge_index_2E.tolist() == [[0], [0]]
    named = dict(zip(EDGE_NAMES, g.edge_attr_E11[0].tolist(), strict=True))
    assert named["count"] == 4
    assert named["reverse"] == 1
    assert named["degree_product"] == 64
    assert named["interval_mean"] == pytest.approx(0.01)
    assert named["span"] == 1


def test_the_window_takes_the_most_frequent_family_and_needs_its_minimum_of_attack_frames() -> None:
    f = frames(np.arange(6) * 0.01, [1] * 6, y=[1, 0, 0, 0, 1, 1])
    stream = prepare(f)
    g = build_windows(
        stream, relate(stream, profile_of(f)), np.array([0, 3]), window_frames=3, min_attack_frames=2
    )
    assert g.y_G.tolist() == [0, 1]
    assert g.attack_G.tolist() == [-1, 0]
    assert g.node_y_N.tolist() == [1, 1]


def test_no_window_gives_an_empty_but_well_formed_result() -> None:
    g = build(bus(0.1), profile_of(bus(1.0)), [], 10)
    assert g.x_ND.shape == (0, len(NODE_NAMES))
    assert g.edge_attr_E11.shape == (0, 11)
    assert g.edge_index_2E.shape == (2, 0)


def test_the_agnostic_view_of_a_window_does_not_depend_on_what_the_ids_are() -> None:
    plain, renamed = bus(1.0), bus(1.0, offset=0x300)
    a, b = (build(f, profile_of(f), [0, 50], 50) for f in (plain, renamed))
    np.testing.assert_array_equal(a.x_ND[:, columns("agnostic")], b.x_ND[:, columns("agnostic")])
    np.testing.assert_array_equal(a.edge_index_2E, b.edge_index_2E)
