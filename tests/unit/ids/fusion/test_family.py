"""Every member of the fusion family earns by its kind, reads back as it was, and draws its picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tiny_world import Rows, output

from candor.cli.trials import TrialRecorder
from candor.ids.config import FusionConfig, LinUcbConfig, VariantConfig
from candor.ids.fusion.family import train, untrained
from candor.ids.fusion.linucb import _Arms
from candor.ids.fusion.picture import BINS, policy_table
from candor.ids.fusion.policy import FusionData, Policy
from candor.ids.fusion.states import STATE_FIELDS
from candor.ids.fusion.validation import Validation
from candor.learn.checkpoints import load_weights, save_weights
from candor.learn.tuning.search import TrialStopped

KINDS = ("dqn", "linucb", "mlp", "average", "or")
GAT_P, VGAE_E = STATE_FIELDS.index("gat_attack_probability"), STATE_FIELDS.index("vgae_feature_error")


def config(kind: str, **fields: object) -> FusionConfig:
    return TypeAdapter(FusionConfig).validate_python({"kind": kind, **fields})


def windows(rng: np.random.Generator, n: int = 600) -> FusionData:
    """Half attacks. Of them the GAT misses every fourth, which the VGAE sees; the VGAE doubts every tenth benign one."""
    y = (np.arange(n) % 2).astype(np.uint8)
    missed, doubted = np.arange(n) % 8 == 1, np.arange(n) % 20 == 0
    gat = np.where((y == 1) & ~missed, 0.97, 0.03) + rng.normal(0, 0.005, n)
    vgae = np.where(y == 1, 0.95, np.where(doubted, 0.65, 0.02))
    states = rng.normal(0, 0.1, (n, len(STATE_FIELDS)))
    states[:, GAT_P], states[:, GAT_P - 1] = gat, 1 - gat
    states[:, VGAE_E] = np.where(y == 1, 5.0, np.where(doubted, 1.2, 0.0)) + rng.normal(0, 0.1, n)
    return FusionData(states, gat, vgae, y, np.minimum(np.arange(n) + 1, n - 1), np.zeros(n, bool))


def right(policy, data: FusionData) -> float:
    fused = policy.fuse(data.states_GS, data.gat_G, data.vgae_G)
    return float(((fused > 0.5) == data.y_G).mean())


@pytest.mark.parametrize("kind", ["dqn", "linucb", "mlp"])
def test_a_policy_that_sees_the_state_beats_both_detectors(tmp_path, kind):
    data, rows = windows(np.random.default_rng(0)), Rows()
    policy = train(data, config(kind, episodes=50), 1, output(tmp_path, rows))
    unseen = windows(np.random.default_rng(9))
    alone = max(float(((p > 0.5) == unseen.y_G).mean()) for p in (unseen.gat_G, unseen.vgae_G))
    assert alone < 0.96
    assert right(policy, unseen) > 0.98
    earned = rows.curve("reward", "episode")
    assert len(earned) == 50
    assert np.mean(earned[-10:]) > np.mean(earned[:3]) + 0.02


def test_the_bandit_tries_what_it_knows_least_of_and_values_what_earned():
    arms = _Arms(LinUcbConfig(num_weights=3), width=2)
    phi = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    arms.add(phi.repeat(50, 1), torch.tensor([0, 1]).repeat(50), torch.tensor([1.0, -1.0]).repeat(50))
    arms.solve()
    wide, none = arms.bounds(phi, 2.0), arms.bounds(phi, 0.0)
    assert none[0, 0] == pytest.approx(50 / 51, rel=1e-4)
    assert none[1, 1] == pytest.approx(-50 / 51, rel=1e-4)
    assert none[0, 2] == 0
    assert wide[0].argmax() == 2 or wide[0].argmax() == 1  # Neither was pulled for such a window.
    assert (wide - none)[0, 0] == pytest.approx(2 / 51**0.5, rel=1e-4)


def test_the_average_leans_to_the_better_detector_and_is_one_weight(tmp_path):
    data = windows(np.random.default_rng(0))
    for gat, vgae, side in ((data.y_G * 0.9 + 0.05, data.vgae_G * 0 + 0.5, 1), (data.vgae_G * 0 + 0.5, data.y_G * 0.9 + 0.05, 0)):  # fmt: skip
        given = replace(data, gat_G=gat, vgae_G=vgae)
        policy = train(given, config("average", unseen_attack_rate=0.0), 1, output(tmp_path))
        weight = policy.weight(given.states_GS, gat, vgae)
        assert len(set(weight)) == 1
        assert abs(weight[0] - side) < 0.1


def test_the_or_rule_alarms_if_either_does(tmp_path):
    data = windows(np.random.default_rng(0))
    policy = train(data, config("or"), 1, output(tmp_path))
    fused = policy.fuse(data.states_GS, data.gat_G, data.vgae_G)
    assert (fused == np.maximum(data.gat_G, data.vgae_G)).all()


@pytest.mark.parametrize("kind", ["linucb", "mlp"])
def test_a_dearer_miss_moves_doubtful_windows_towards_alarm(tmp_path, kind):
    data = windows(np.random.default_rng(0))
    fused = {}
    for cost in (0.2, 5.0):
        policy = train(data, config(kind, miss_cost=cost, episodes=12), 1, output(tmp_path))
        given = policy.fuse(data.states_GS, data.gat_G, data.vgae_G)
        fused[cost] = float(given[(data.y_G == 0) & (data.vgae_G > 0.5)].mean())
    assert fused[5.0] >= fused[0.2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_reads_back_as_it_was_and_a_seed_repeats_it(tmp_path, kind):
    data = windows(np.random.default_rng(0), 200)
    short = {} if kind == "or" else {"episodes": 2}
    first, again = (train(data, config(kind, **short), 1, output(tmp_path)) for _ in range(2))
    given = data.states_GS, data.gat_G, data.vgae_G
    assert (first.weight(*given) == again.weight(*given)).all()
    save_weights(tmp_path / "weights.safetensors", first, kind=kind)
    back = untrained(config(kind, **short))
    load_weights(tmp_path / "weights.safetensors", back)
    assert (back.eval().weight(*given) == first.weight(*given)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_windows_without_any_attack_still_train(tmp_path, kind):
    data = windows(np.random.default_rng(0), 100)
    short = {} if kind == "or" else {"episodes": 1}
    policy = train(replace(data, y_G=np.zeros_like(data.y_G)), config(kind, **short), 0, output(tmp_path))
    assert np.isfinite(policy.weight(data.states_GS, data.gat_G, data.vgae_G)).all()


def test_the_kind_is_dqn_unless_stated_and_an_unknown_one_is_refused():
    assert VariantConfig.model_validate({"scale": "s", "fusion": {"hidden": 8}}).fusion.kind == "dqn"
    with pytest.raises(ValidationError, match="kind must be dqn, linucb, mlp, average or or"):
        VariantConfig.model_validate({"scale": "s", "fusion": {"kind": "vote"}})


def test_the_picture_counts_every_window_once_and_means_are_the_policys(tmp_path):
    data = windows(np.random.default_rng(0))
    policy = train(data, config("or"), 1, output(tmp_path))
    family = np.where(data.y_G > 0, "dos", "")
    table = policy_table(policy, data, family)
    assert table["windows"].sum() == len(data.y_G)
    assert set(table["family"]) == {"", "dos"}
    assert table["gat_bin"].max() < BINS
    weight = policy.weight(data.states_GS, data.gat_G, data.vgae_G)
    mean = (table["weight"] * table["windows"]).sum() / table["windows"].sum()
    assert mean == pytest.approx(weight.mean())
    benign = table.filter((pl.col("family") == "") & (pl.col("vgae_bin") == 6))
    assert (benign["weight"] == 0).all()


class Constant(Policy):
    """The same weight for all windows."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def weight(self, states_GS, gat_G, vgae_G):
        return np.full(len(gat_G), self.alpha)


@pytest.mark.parametrize("kind", ["dqn", "linucb", "mlp"])
def test_what_a_policy_earns_on_validation_windows_is_told_and_rises_above_both_detectors(tmp_path, kind):
    settings, rows = config(kind, episodes=40), Rows()
    judge = Validation(windows(np.random.default_rng(9)), settings)
    policy = train(windows(np.random.default_rng(0)), settings, 1, output(tmp_path, rows), judge)
    told = rows.curve("val_reward", "episode")
    assert len(told) == 40
    assert told[-1] == judge.reward(policy)  # The policy of the last episode is the one that is kept.
    assert told[-1] > max(judge.reward(Constant(alpha)) for alpha in (0.0, 0.5, 1.0))
    assert told[-1] > told[0] + 0.05


def test_the_or_rule_tells_what_it_earns_on_validation_windows(tmp_path):
    rows, settings = Rows(), config("or")
    judge = Validation(windows(np.random.default_rng(9)), settings)
    policy = train(windows(np.random.default_rng(0)), settings, 1, output(tmp_path, rows), judge)
    assert rows.curve("val_reward", "episode") == [judge.reward(policy)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_goes_as_it_would_without_validation_and_an_attempt_tells_its_episodes_once(
    tmp_path, kind
):
    data, settings = windows(np.random.default_rng(0), 200), config(kind, **({} if kind == "or" else {"episodes": 3}))  # fmt: skip
    alone, judged = Rows(), Rows()
    without = train(data, settings, 1, output(tmp_path, alone))
    judge = Validation(windows(np.random.default_rng(9), 200), settings)
    for _ in range(2):
        policy = train(data, settings, 1, output(tmp_path, judged), judge)
    assert judged.curve("reward", "episode") == alone.curve("reward", "episode")
    for name, tensor in without.state_dict().items():
        assert torch.equal(policy.state_dict()[name], tensor)


def test_policies_are_judged_on_the_same_draw_whatever_was_drawn_before():
    data, settings, policy = windows(np.random.default_rng(9)), config("dqn"), Constant(0.7)
    earned = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        earned.add(Validation(data, settings).reward(policy))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert len(earned) == 1
    assert Validation(data, config("dqn", miss_cost=3.0)).reward(policy) < earned.pop()


def test_validation_windows_without_an_attack_judge_nobody():
    data = windows(np.random.default_rng(9))
    assert Validation.of(data, config("dqn")) is not None
    assert Validation.of(replace(data, y_G=np.zeros_like(data.y_G)), config("dqn")) is None


@pytest.mark.parametrize("kind", ["dqn", "linucb", "mlp", "average"])
def test_a_search_stops_a_poor_policy_at_the_episode_where_it_says_so(tmp_path, kind):
    heard = []

    def report(episode: int, value: float) -> None:
        heard.append(value)
        if episode == 2:
            raise TrialStopped("behind the others")

    data, settings = windows(np.random.default_rng(0), 200), config(kind, episodes=9)
    out = replace(
        output(tmp_path), recorder=TrialRecorder(tmp_path, "fusion.student.s1", "val_reward", report)
    )
    with pytest.raises(TrialStopped):
        train(data, settings, 1, out, Validation(data, settings))
    assert len(heard) == 3
