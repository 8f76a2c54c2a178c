import numpy as np
import pytest

from candor.ids.fusion.states import GAT_FIELDS, STATE_FIELDS, VGAE_FIELDS, AnomalyScale, WindowViews

RNG = np.random.default_rng(0)
BENIGN = RNG.normal([0.0, 1.0, 2.0], [0.1, 0.2, 0.3], (5000, 3))


def test_the_state_has_eight_vgae_and_seven_gat_fields():
    assert len(STATE_FIELDS) == 15 == len(set(STATE_FIELDS))
    assert all(f.startswith("vgae_") for f in STATE_FIELDS[VGAE_FIELDS])
    assert all(f.startswith("gat_") for f in STATE_FIELDS[GAT_FIELDS])


def test_the_probability_goes_through_its_two_anchor_points():
    scale = AnomalyScale.fit(BENIGN, (1.0, 0.0, 0.0), 0.99)
    u = scale.anomaly(BENIGN)
    p = scale.probability(u)
    assert np.median(p) == pytest.approx(0.01, abs=1e-4)
    assert (p > 0.5).mean() == pytest.approx(0.01, abs=1e-3)
    assert scale.probability(np.array([1e9]))[0] == 1.0


def test_a_margin_moves_the_point_of_doubt_away_from_benign_traffic():
    tight, wide = (AnomalyScale.fit(BENIGN, (1.0, 0.0, 0.0), 0.99, margin) for margin in (1.0, 1.5))
    assert wide.limit - wide.median == pytest.approx(1.5 * (tight.limit - tight.median))


def test_the_probability_keeps_the_order_of_the_anomaly():
    scale = AnomalyScale.fit(BENIGN, (1.0, 0.5, 0.5), 0.999)
    u = np.sort(scale.anomaly(RNG.normal(0, 5, (500, 3))))
    assert (np.diff(scale.probability(u)) >= 0).all()


def test_constant_benign_errors_give_a_finite_scale():
    scale = AnomalyScale.fit(np.zeros((10, 3)), (1.0, 0.0, 0.0), 0.999)
    assert np.isfinite(scale.probability(scale.anomaly(np.array([[0.0, 0, 0], [3.0, 0, 0]])))).all()


def test_states_lie_in_the_order_of_their_names():
    raw, gat = RNG.normal(size=(4, 7)), RNG.uniform(size=(4, 7))
    scale = AnomalyScale.fit(BENIGN, (1.0, 0.0, 0.0), 0.999)
    views = WindowViews(raw, gat)
    states = views.states(scale)
    assert states.shape == (4, 15)
    assert (states[:, STATE_FIELDS.index("gat_attack_probability")] == gat[:, 1]).all()
    confidence = np.abs(2 * views.anomaly_probability(scale) - 1)
    assert states[:, STATE_FIELDS.index("vgae_confidence")] == pytest.approx(confidence)
