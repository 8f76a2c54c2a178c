"""Frame dynamics hold two parts: a frame out of its place is seen though its bytes are true, and forged bytes in their place."""

from __future__ import annotations

import numpy as np
import pytest

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs.stream import Stream, prepare
from candor.ids.models import frame_dynamics as dynamics
from candor.ids.models import payload
from candor.ids.models.payload import Costs, Piece
from candor.learn.metrics import ranking_metrics

IDS = np.array([0x100, 0x200, 0x300, 0x400, 0x500, 0x600], np.uint32)
N, CALIBRATION, WIDTH = 9000, 3000, 60
FLAT = Costs(np.full((5, 3), 1.0), np.full((5, 3), 4.0))
ATTACK = np.arange(6000, 7500)


def traffic(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Six IDs in turns, the last two of which come in either order; each has a sensor, its copy, and a counter."""
    rng = np.random.default_rng(seed)
    turns = np.tile(np.arange(6), (N // 6, 1))
    swapped = rng.random(len(turns)) < 0.5
    turns[swapped, 4], turns[swapped, 5] = 5, 4
    code = turns.ravel()
    data = np.zeros((N, 8), np.uint8)
    k = np.arange(N // 6)
    for u in range(6):
        at = np.flatnonzero(code == u)
        speed = (120 + 60 * np.sin(k / (40 + 7 * u)) + rng.normal(0, 0.7, len(k))).round()
        data[at, 0], data[at, 1], data[at, 2] = speed, speed + rng.integers(-1, 2, len(k)), k % 16
    return code, data


def stream(code: np.ndarray, data: np.ndarray, y: np.ndarray | None = None) -> Stream:
    n = len(code)
    y = np.zeros(n, np.uint8) if y is None else y.astype(np.uint8)
    attack = np.where(y > 0, 0, -1).astype(np.int16)
    size = np.full(n, 3, np.uint8)
    return prepare(
        FrameArrays(np.arange(n) * 1e-3, IDS[code], data, size, y, attack, ["m"], np.zeros(n, np.uint8))
    )


def displaced(code: np.ndarray, data: np.ndarray) -> None:
    """ID 1 keeps rate and bytes, but sends two places later than its turn: as another unit with a clock of its own would."""
    for at in ATTACK[code[ATTACK] == 1]:
        code[[at, at + 1, at + 2]] = code[[at + 1, at + 2, at]]
        data[[at, at + 1, at + 2]] = data[[at + 1, at + 2, at]]


def forged(code: np.ndarray, data: np.ndarray) -> None:
    """ID 1 sends in its place, but says that it stands still at a value it never had."""
    data[ATTACK[code[ATTACK] == 1], :2] = 251


def fit(given: Stream, **settings) -> dynamics.FrameModel:
    how = {"order": 3, "smoothing": 0.1, "prior_frames": 20.0} | settings
    return dynamics.fit(Piece(given, np.arange(CALIBRATION)), FLAT, **how)


def judged(forge, **settings) -> tuple[payload.WindowSurprise, np.ndarray, Stream, payload.WindowSurprise]:
    """Windows behind the calibration: their surprise, which are attacked, and the surprise of payload dynamics."""
    code, data = traffic()
    forge(code, data)
    given = stream(code, data)
    start = np.arange(CALIBRATION, N - WIDTH, WIDTH)
    found = dynamics.window_scores(given, fit(given, **settings).surprise(given), start, start + WIDTH)
    bytes_ = payload.fit([Piece(given, np.arange(CALIBRATION))], FLAT, prior_frames=20)
    z = bytes_.surprise(Piece(given, np.arange(N)))
    attacked = (start + WIDTH > ATTACK[0]) & (start < ATTACK[-1])
    return found, attacked, given, payload.window_scores(given, z, start, start + WIDTH)


def auroc(attacked: np.ndarray, score: np.ndarray) -> float:
    return float(ranking_metrics(attacked, score)["auroc"][0])


@pytest.mark.parametrize(
    ("forge", "views"), [(displaced, {"order"}), (forged, {"value", "step", "agreement"})]
)
def test_an_attack_on_order_alone_and_one_on_bytes_alone_are_each_seen(forge, views):
    found, attacked, given, bytes_alone = judged(forge)
    assert auroc(attacked, found.score_G) > 0.97
    named = np.array(dynamics.VIEWS)[found.view_G[attacked]]
    assert np.isin(named, list(views)).mean() > 0.9
    if forge is forged:
        assert (given.key_U[found.worst_G[attacked]] == IDS[1]).mean() > 0.9
    else:  # True bytes that come two places later tell payload dynamics nothing.
        assert auroc(attacked, bytes_alone.score_G) < 0.7


def test_traffic_as_it_was_calibrated_surprises_nobody():
    found, attacked, _, _ = judged(lambda code, data: None)
    assert auroc(attacked, found.score_G) == pytest.approx(0.5, abs=0.2)


def test_what_the_vehicle_costs_on_other_drives_makes_its_habits_less_surprising():
    """Two IDs that change places on another drive are known to; on an unknown vehicle the same is odd."""

    def swapped(code: np.ndarray, data: np.ndarray) -> None:
        for k in range(CALIBRATION, N - 6, 6):
            code[[k + 2, k + 3]] = code[[k + 3, k + 2]]

    code, data = traffic(seed=1)
    swapped(code, data)
    other = stream(code, data)
    later = dynamics.later_costs(
        Piece(other, np.arange(N)), calibration_s=CALIBRATION * 1e-3, order=3, smoothing=0.1
    )
    known = dynamics.CostSums().plus(*later).expected()
    scores = []
    for settings in ({}, {"known": known}, {"known": known, "known_share": 0.0}):
        found, _, _, _ = judged(swapped, **settings)
        scores.append(float(np.median(found.score_G)))
    assert scores[1] < 0.5 * scores[0]
    assert scores[2] == pytest.approx(scores[0])


def test_costs_summed_over_captures_are_those_of_all_frames_together():
    rng = np.random.default_rng(3)
    key = rng.choice(np.array([9, 4, 700, 31], np.uint32), 500, p=[0.5, 0.3, 0.195, 0.005])
    bits = rng.gamma(2.0, 3.0, (500, len(dynamics.VIEWS)))
    bits[::50, 1] = np.nan
    sums = dynamics.CostSums()
    for part in (slice(0, 3), slice(3, 3), slice(3, 320), slice(320, None)):
        sums = sums.plus(key[part], bits[part])
    known, whole = sums.expected(), ~np.isnan(bits).any(axis=1)
    assert known.key_P.tolist() == [4, 9, 700]  # Of 31 there are too few to tell.
    for row, identifier in enumerate(known.key_P):
        mine = bits[whole & (key == identifier)]
        assert known.frames_P[row] == len(mine)
        assert known.mean_PQ[row] == pytest.approx(mine.mean(axis=0))
        assert known.variance_PQ[row] == pytest.approx(mine.var(axis=0))


def test_a_window_is_judged_by_its_own_frames_and_their_past():
    code, data = traffic()
    later, other = code.copy(), data.copy()
    later[7000:], other[7000:] = 0, 0xFF
    start = np.arange(CALIBRATION, 7000 - WIDTH, WIDTH)
    first, second = (
        dynamics.window_scores(s, fit(s).surprise(s), start, start + WIDTH)
        for s in (stream(code, data), stream(later, other))
    )
    assert np.array_equal(first.score_G, second.score_G)


def test_labels_are_not_looked_at():
    code, data = traffic()
    y = np.arange(N) % 7 == 0
    first, second = (fit(s).surprise(s) for s in (stream(code, data), stream(code, data, y)))
    assert np.array_equal(first, second, equal_nan=True)


def test_an_id_that_calibration_never_saw_is_out_of_place_and_has_no_bytes_to_compare():
    code, data = traffic()
    code[8000:8600:60] = 5
    ids = IDS[code]
    ids[8000:8600:60] = 0x7FF
    size, none = np.full(N, 3, np.uint8), np.zeros(N, np.uint8)
    given = prepare(
        FrameArrays(np.arange(N) * 1e-3, ids, data, size, none, none.astype(np.int16) - 1, [], none)
    )
    z = fit(given).surprise(given)
    new = given.key_U[given.code_n] == 0x7FF
    assert np.isnan(z[new, :3]).all()
    assert (z[new, 3] > 1).all()


def test_an_empty_calibration_judges_nothing():
    code, data = traffic()
    given = stream(code, data)
    nothing = Piece(given, np.zeros(0, np.int64))
    model = dynamics.fit(nothing, FLAT, order=3, smoothing=0.1, prior_frames=20)
    z = model.surprise(given)
    assert np.isnan(z[:, :3]).all()
    assert np.isfinite(z[1:, 3]).all()
    assert np.ptp(z[1:, 3]) == 0  # Every order is as likely as any.


def test_counts_of_a_mixture_hold_what_lies_between_its_parts():
    mean, variance = payload.blend(np.array([0.5]), np.array([0.0]), np.array([1.0]), 4.0, 1.0)
    assert (mean[0], variance[0]) == (2.0, 5.0)
