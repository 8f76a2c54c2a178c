from dataclasses import replace

import numpy as np
import pytest
import torch

from candor.flow.stage import Output
from candor.ids.config import DqnConfig
from candor.ids.fusion.dqn import DqnFusion, train
from candor.ids.fusion.policy import FusionData, reward
from candor.ids.fusion.states import STATE_FIELDS

GAT_P, VGAE_E = STATE_FIELDS.index("gat_attack_probability"), STATE_FIELDS.index("vgae_feature_error")


class _Rows:
    def __init__(self):
        self.rows = []

    def log(self, step, metrics, *, kind="epoch"):
        self.rows.append(metrics)

    def rewind(self, step, *, kind="epoch"):
        self.rows.clear()


@pytest.fixture
def out(tmp_path):
    return Output(tmp_path, tmp_path, _Rows(), lambda *_: None)


def _windows(rng, n=600):
    """Half attacks; the GAT sees all of them; the VGAE sees them too, and errs on 5 % of the benign ones, mildly."""
    y = (np.arange(n) % 2).astype(np.uint8)
    gat = np.where(y, 0.98, 0.02) + rng.normal(0, 0.005, n)
    mild = (y == 0) & (rng.uniform(size=n) < 0.05)
    vgae = np.where(y, 0.99, np.where(mild, 0.7, 0.02))
    states = rng.normal(0, 0.1, (n, 15))
    states[:, GAT_P], states[:, GAT_P - 1] = gat, 1 - gat
    states[:, VGAE_E] = np.where(y, 5.0, np.where(mild, 1.2, 0.0)) + rng.normal(0, 0.1, n)
    return FusionData(states, gat, vgae, y, np.minimum(np.arange(n) + 1, n - 1), np.zeros(n, bool))


def _unseen(data):
    """The same attacks, but the GAT takes them for benign."""
    states, gat = data.states_GS.copy(), data.gat_G.copy()
    attack = data.y_G > 0
    states[attack, 8:15], gat[attack] = data.states_GS[~attack][:, 8:15], data.gat_G[~attack]
    return FusionData(states, gat, data.vgae_G, data.y_G, data.next_G, data.unfamiliar_G)


def test_reward_prices_errors_and_margins():
    fused, y = torch.tensor([0.9, 0.9, 0.1, 0.1]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert reward(fused, y, miss_cost=3.0).tolist() == pytest.approx([1.8, -1.8, 1.8, -3.8])


def test_the_policy_learns_and_earns_more(out):
    data = _windows(np.random.default_rng(0))
    model = train(data, DqnConfig(episodes=60), seed=1, out=out)
    earned = [r["reward"] for r in out.recorder.rows]
    assert np.mean(earned[-5:]) > np.mean(earned[:5]) + 0.2
    fused = model.fuse(data.states_GS, data.gat_G, data.vgae_G)
    assert ((fused > 0.5) == data.y_G).mean() > 0.99


def test_an_attack_the_gat_never_saw_is_left_to_the_vgae(out):
    rng = np.random.default_rng(0)
    data = _windows(rng)
    model = train(data, DqnConfig(episodes=40, unseen_attack_rate=0.3), seed=1, out=out)
    unseen = _unseen(_windows(rng))
    fused = model.fuse(unseen.states_GS, unseen.gat_G, unseen.vgae_G)
    assert ((fused > 0.5) == unseen.y_G).mean() > 0.95


def test_a_classifier_that_alarms_on_an_unknown_vehicle_is_overruled_by_the_vgae(out):
    """The ID error tells an unknown vehicle: all its IDs are the one unknown slot, which is easy to reconstruct."""
    known, shown = (_windows(np.random.default_rng(s)) for s in (0, 1))
    id_error = STATE_FIELDS.index("vgae_id_error")
    shown.states_GS[:, id_error] = -5.0
    unfamiliar = replace(shown, unfamiliar_G=np.ones(len(shown.y_G), bool))
    model = train(known.with_views(unfamiliar), DqnConfig(episodes=60), seed=1, out=out)
    alarming = replace(unfamiliar, states_GS=shown.states_GS.copy(), gat_G=np.full_like(shown.gat_G, 0.98))
    alarming.states_GS[:, 8:15] = shown.states_GS[shown.y_G > 0][0, 8:15]
    fused = model.fuse(alarming.states_GS, alarming.gat_G, alarming.vgae_G)
    assert (fused[alarming.y_G > 0] > 0.5).mean() > 0.95
    assert (fused[(alarming.y_G == 0) & (alarming.vgae_G < 0.1)] > 0.5).mean() < 0.1


def test_the_same_seed_gives_the_same_policy(out):
    data = _windows(np.random.default_rng(0), 100)
    config = DqnConfig(episodes=3)
    first, second, other = (
        train(data, config, seed=s, out=out).weight(data.states_GS, data.gat_G, data.vgae_G)
        for s in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_there_are_as_many_weights_as_configured_from_zero_to_one():
    weights = DqnFusion(DqnConfig()).weights_K
    assert len(weights) == 21
    assert (weights[0], weights[-1]) == (0, 1)


def test_training_without_any_attack_window_still_ends(out):
    data = _windows(np.random.default_rng(0), 100)
    benign = FusionData(
        data.states_GS, data.gat_G, data.vgae_G, np.zeros_like(data.y_G), data.next_G, data.unfamiliar_G
    )
    assert np.isfinite(
        train(benign, DqnConfig(episodes=2), seed=0, out=out).weight(data.states_GS, data.gat_G, data.vgae_G)
    ).all()
