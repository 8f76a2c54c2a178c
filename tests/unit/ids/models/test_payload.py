"""Payload dynamics: what is seen of forged bytes, by which view, and that nothing but the past decides."""

from __future__ import annotations

import numpy as np
import pytest

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models import payload as dynamics
from candor.ids.models.payload import Costs, Counts, Piece
from candor.learn.metrics import ranking_metrics

SPEEDS, STATUS, NOISE = 0x100, 0x200, 0x300
N, CALIBRATION = 6000, 2000
FLAT = Costs(np.full((5, 3), 1.0), np.full((5, 3), 4.0))


def payloads(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three IDs in turns: two alike wheel speeds and a counter; a held status and a constant; a checksum-like byte."""
    rng = np.random.default_rng(seed)
    ids = np.tile([SPEEDS, STATUS, NOISE], N // 3).astype(np.uint32)
    data = np.zeros((N, 8), np.uint8)
    k = np.arange(N // 3)
    speed = (100 + 60 * np.sin(k / 150) + rng.normal(0, 0.7, len(k))).round()
    data[0::3, 0] = speed
    data[0::3, 1] = speed + rng.integers(-1, 2, len(k))
    data[0::3, 2] = k % 16
    data[1::3, 0] = np.where(k // 100 % 2, 5, 9)
    data[1::3, 1] = 0xAA
    data[2::3, 0] = rng.integers(0, 256, len(k))
    return ids, data


def stream(ids: np.ndarray, data: np.ndarray, y: np.ndarray | None = None) -> Stream:
    n = len(ids)
    y = np.zeros(n, np.uint8) if y is None else y.astype(np.uint8)
    code = np.where(y > 0, 0, -1).astype(np.int16)
    return prepare(
        FrameArrays(np.arange(n) * 1e-3, ids, data, np.full(n, 3, np.uint8), y, code, ["m"], np.zeros(n, np.uint8))
    )  # fmt: skip


def judged(forge) -> tuple[dynamics.WindowSurprise, np.ndarray, Stream]:
    """Windows of 60 frames after the calibration; ``forge(data, rows)`` changes frames of the second half."""
    ids, data = payloads()
    rows = np.arange(4200, 5400)
    forge(data, rows)
    given = stream(ids, data)
    model = dynamics.fit([Piece(given, np.arange(CALIBRATION))], FLAT, prior_frames=20)
    z = model.surprise(Piece(given, np.arange(N)))
    start = np.arange(CALIBRATION, N - 60, 60)
    found = dynamics.window_scores(given, z, start, start + 60)
    return found, (start + 60 > rows[0]) & (start < rows[-1]), given


def of(rows: np.ndarray, place: int) -> np.ndarray:
    return rows[rows % 3 == place]


def frozen_high(data, rows):
    data[of(rows, 0), 0] = data[of(rows, 0), 1] = 251


def shifted(data, rows):
    data[of(rows, 0), 0] += 30


def jumping(data, rows):
    at = of(rows, 0)
    data[at, 0] = data[at, 1] = np.random.default_rng(1).integers(50, 150, len(at))


def unheard_of(data, rows):
    data[of(rows, 1), 1] = 0x11


@pytest.mark.parametrize(
    ("forge", "view", "of_id"),
    [
        (frozen_high, "value", SPEEDS),
        (shifted, "agreement", SPEEDS),
        (jumping, "step", SPEEDS),
        (unheard_of, "value", STATUS),
    ],
)
def test_forged_bytes_are_seen_and_their_id_and_view_named(forge, view, of_id):
    found, attack, given = judged(forge)
    metrics = ranking_metrics(attack, found.score_G)
    assert metrics["auroc"][0] > 0.97
    named = given.key_U[found.worst_G[attack]]
    assert (named == of_id).mean() > 0.9
    views = np.array(dynamics.VIEWS)[found.view_G[attack]]
    assert (views == view).mean() > 0.6


def test_traffic_as_it_was_calibrated_surprises_nobody():
    found, attack, _ = judged(lambda data, rows: None)
    before = found.score_G[~attack]
    assert ranking_metrics(attack, found.score_G)["auroc"][0] == pytest.approx(0.5, abs=0.2)
    assert before.max() < 6


def test_a_window_is_judged_by_its_past_alone():
    ids, data = payloads()
    given = stream(ids, data)
    model = dynamics.fit([Piece(given, np.arange(CALIBRATION))], FLAT, prior_frames=20)
    later = data.copy()
    later[5000:] = 0xFF
    whole = model.surprise(Piece(given, np.arange(N)))
    changed = model.surprise(Piece(stream(ids, later), np.arange(N)))
    assert np.array_equal(whole[:5000], changed[:5000], equal_nan=True)
    assert not np.array_equal(whole[5000:], changed[5000:], equal_nan=True)


def test_labels_are_not_looked_at():
    ids, data = payloads()
    y = (np.arange(N) % 7 == 0).astype(np.uint8)
    first, second = (
        dynamics.fit([Piece(s, np.arange(CALIBRATION))], FLAT, prior_frames=20)
        for s in (stream(ids, data), stream(ids, data, y))
    )
    for name, values in first.arrays().items():
        assert np.array_equal(values, second.arrays()[name])


def test_bytes_are_told_apart_by_what_they_do():
    given = stream(*payloads())
    counts = Counts.of([Piece(given, np.arange(N))])
    names = np.array(dynamics.BEHAVIOURS)[dynamics.behaviours(counts)]
    assert counts.key_P.tolist() == [SPEEDS, STATUS, NOISE]
    assert names[0, :3].tolist() == ["sensor", "sensor", "counter"]
    assert names[1, :2].tolist() == ["state", "constant"]
    assert names[2, 0] == "noise"


def test_a_cut_makes_no_step():
    """Frames on both sides of a gap are no neighbours: the step over it is neither counted nor judged."""
    ids, data = payloads()
    data[3000:, 0] = 0
    given = stream(ids, data)
    whole = Counts.of([Piece(given, np.arange(N))])
    cut = Counts.of([Piece(given, np.r_[np.arange(0, 2990), np.arange(3010, N)])])
    assert cut.values_PBV.sum() < whole.values_PBV.sum()
    speeds = 0
    steps = cut.steps_PBLV[speeds, 0].sum(0)
    assert steps.sum() == cut.values_PBV[speeds, 0].sum() - 2  # One first frame on either side.


def test_an_id_that_calibration_never_saw_has_no_surprise():
    ids, data = payloads()
    ids[4000:] = 0x7FF
    given = stream(ids, data)
    model = dynamics.fit([Piece(given, np.arange(CALIBRATION))], FLAT, prior_frames=20)
    z = model.surprise(Piece(given, np.arange(N)))
    assert np.isnan(z[4000:]).all()
    found = dynamics.window_scores(given, z, np.array([4100]), np.array([4200]))
    assert (found.score_G[0], found.worst_G[0], found.view_G[0]) == (0.0, -1, -1)


def test_counting_in_parts_is_counting_at_once():
    given = stream(*payloads())
    parts = [Piece(given, np.arange(0, 2500)), Piece(given, np.arange(2500, N))]
    together = Counts.of(parts)
    added = Counts.of(parts[:1]).plus(Counts.of(parts[1:]))
    assert np.array_equal(together.steps_PBLV, added.steps_PBLV)
    assert np.array_equal(together.pairs_PBBV, added.pairs_PBBV)


def test_costs_are_learned_by_what_seconds_predict_of_the_rest():
    given = stream(*payloads())
    costs = dynamics.learn_costs([Piece(given, np.arange(N))], calibration_s=2.0)
    sensor, constant = (dynamics.BEHAVIOURS.index(b) for b in ("sensor", "constant"))
    assert costs.mean_CQ[sensor, 0] > 4 > 0.1 > costs.mean_CQ[constant, 0]
    assert (costs.variance_CQ >= 0).all()


def test_an_empty_calibration_judges_nothing():
    given = stream(*payloads())
    model = dynamics.fit([Piece(given, np.zeros(0, np.int64))], FLAT, prior_frames=20)
    assert np.isnan(model.surprise(Piece(given, np.arange(N)))).all()
