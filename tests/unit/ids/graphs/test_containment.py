from __future__ import annotations

import numpy as np
import pytest
from graph_cases import bus, flood

from candor.ids.graphs.containment import shared_runs, sketch
from candor.ids.graphs.contents import frame_hashes


def benign_hashes(frames: object) -> np.ndarray:
    return frame_hashes(frames)[frames.y == 0]  # type: ignore[attr-defined]


def test_the_frames_of_a_recording_are_found_under_the_attack() -> None:
    base = bus(4.0)
    one = sketch(benign_hashes(base), 16, 1)
    other = sketch(benign_hashes(flood(base, 1.0, 2.0)), 16, 1)
    assert np.array_equal(one, other)


def test_hashes_do_not_tell_how_many_windows_were_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    h = benign_hashes(bus(4.0))
    whole = sketch(h, 16, 2)
    monkeypatch.setattr("candor.ids.graphs.contents._AT_ONCE", 100)
    assert np.array_equal(sketch(h, 16, 2), whole)


def test_two_recordings_of_one_bus_share_nothing() -> None:
    sketches = {name: sketch(benign_hashes(bus(4.0, seed=s)), 16, 1) for name, s in (("a", 0), ("b", 1))}
    assert shared_runs(sketches) == []


def test_shares_are_of_each_capture_s_own_runs() -> None:
    h = benign_hashes(bus(20.0))
    whole, half = sketch(h, 16, 1), sketch(h[: len(h) // 2], 16, 1)
    (pair,) = shared_runs({"whole": whole, "half": half})
    assert pair.share_b == 1.0
    assert abs(pair.share_a - 0.5) < 0.01


def test_a_part_of_the_hash_space_estimates_the_whole() -> None:
    h = benign_hashes(bus(60.0))
    cut = h[: len(h) // 3]
    (pair,) = shared_runs({"whole": sketch(h, 16, 4), "cut": sketch(cut, 16, 4)})
    assert abs(pair.share_a - 1 / 3) < 0.05
    assert pair.share_b == 1.0
    assert len(sketch(h, 16, 4)) < len(sketch(h, 16, 1)) / 3


def test_a_capture_shorter_than_a_run_shares_nothing() -> None:
    h = benign_hashes(bus(4.0))
    assert len(sketch(h[:10], 16, 1)) == 0
    assert shared_runs({"short": sketch(h[:10], 16, 1), "long": sketch(h, 16, 1)}) == []
    assert shared_runs({}) == []
