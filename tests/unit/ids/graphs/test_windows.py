from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from candor.ids.config import SplitConfig, WindowConfig
from candor.ids.graphs.windows import segments, split_starts, window_starts

splits = st.builds(
    SplitConfig,
    blocks=st.integers(1, 12),
    validation_every=st.integers(2, 5),
    validation_offset=st.integers(0, 4),
    embargo_frames=st.integers(0, 30),
)
windows = st.builds(WindowConfig, window_frames=st.integers(2, 20), stride_frames=st.integers(1, 25))


@given(st.integers(0, 600), splits)
def test_segments_keep_the_embargo_between_sides_and_never_overlap(
    num_frames: int, split: SplitConfig
) -> None:
    found = segments(num_frames, split)
    for a, b in itertools.pairwise(found):
        assert a.stop <= b.start
        if a.side != b.side:
            assert b.start - a.stop >= split.embargo_frames
    assert all(0 <= s.start < s.stop <= num_frames for s in found)


@given(st.integers(0, 600), splits, windows)
def test_train_and_validation_windows_share_no_frame_and_keep_the_embargo(
    num_frames: int, split: SplitConfig, window: WindowConfig
) -> None:
    side = {}
    for name in ("train", "val"):
        starts = split_starts(num_frames, name, window, split)
        covered = starts[:, None] + np.arange(window.window_frames)
        side[name] = np.unique(covered)
        assert not len(starts) or (starts.min() >= 0 and covered.max() < num_frames)
        assert (np.diff(starts) > 0).all()
    if len(side["train"]) and len(side["val"]):
        gap = np.abs(side["train"][:, None] - side["val"]).min()
        assert gap > split.embargo_frames


@given(st.integers(0, 300), windows)
def test_test_windows_use_the_whole_capture_and_none_runs_over_its_end(
    num_frames: int, window: WindowConfig
) -> None:
    starts = split_starts(num_frames, "test", window, SplitConfig())
    expected = max((num_frames - window.window_frames) // window.stride_frames + 1, 0)
    assert len(starts) == expected if num_frames >= window.window_frames else len(starts) == 0


def test_a_capture_of_one_frame_has_no_window() -> None:
    assert len(window_starts(0, 1, WindowConfig(window_frames=2))) == 0
    assert len(split_starts(1, "train", WindowConfig(), SplitConfig())) == 0


def test_every_fifth_block_from_the_offset_validates() -> None:
    found = segments(1000, SplitConfig(blocks=10, validation_every=5, validation_offset=2, embargo_frames=10))
    assert [(s.start, s.stop) for s in found if s.side == "val"] == [(200, 300), (700, 800)]
    assert [(s.start, s.stop) for s in found if s.side == "train"] == [(0, 190), (310, 690), (810, 1000)]


def test_an_embargo_longer_than_the_blocks_leaves_no_training_windows_rather_than_negative_ones() -> None:
    found = segments(100, SplitConfig(blocks=4, validation_every=2, validation_offset=0, embargo_frames=90))
    assert {s.side for s in found} == {"val"}
