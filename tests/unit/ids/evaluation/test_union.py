"""Unions: the budget holds, the split is validation's, and scores keep their order beyond what validation saw."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from evaluation_data import scored, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from candor.errors import DataError
from candor.ids.config import UnionConfig
from candor.ids.evaluation.union import Surprise, form, split_budget, splits

TRUTH = np.array([0] * 200 + [1] * 20)
ROWS = pl.concat([windows("v", TRUTH, split="val", scenario=""), windows("c", TRUTH)])
RNG = np.random.default_rng(3)


def member(
    name: str, variant: str, sees: bool, *, seed: int = 0, test: np.ndarray | None = None
) -> pl.DataFrame:
    val = RNG.random(220) * 0.5 + (TRUTH if sees else 0)
    other = RNG.random(220) * 0.5 + (TRUTH if sees else 0) if test is None else test
    return scored(ROWS, np.concatenate([val, other]), detector=name, variant=variant, seed=seed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=60),
    st.lists(st.integers(-5, 40), min_size=2, max_size=60),
)
def test_a_higher_score_never_surprises_less(benign: list[int], asked: list[int]) -> None:
    fitted = Surprise.fit(np.array(benign, float), np.array(benign + asked, float))
    got = fitted(np.sort(np.array(asked, float)))
    assert (np.diff(got) >= -1e-12).all()
    assert (got >= 0).all()


def test_beyond_validation_a_higher_score_surprises_more_even_where_benign_scores_are_all_equal() -> None:
    fitted = Surprise.fit(np.zeros(50), np.array([0.0] * 50 + [0.3, 0.8]))
    near, far = fitted(np.array([0.3, 0.8]))
    assert fitted(np.zeros(1))[0] == 0
    assert far > near > np.log(50)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.3))
def test_all_members_together_stay_within_the_budget_on_validation(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    benign = rng.random((300, 3))
    surprise = np.stack([Surprise.fit(c, c)(c) for c in benign.T], axis=1)
    for shares in splits(3, 6):
        alarm = (surprise + np.log(shares) >= -np.log(budget)).any(axis=1)
        assert alarm.mean() <= budget + 1e-9


def test_splits_are_whole_and_leave_nobody_out() -> None:
    found = list(splits(3, 8))
    assert len(found) == len(set(found)) == 21
    for shares in found:
        assert sum(shares) == pytest.approx(1)
        assert min(shares) > 0
    assert list(splits(4, 2)) == [(0.25, 0.25, 0.25, 0.25)]


def test_the_member_that_finds_the_attacks_gets_most_of_the_budget() -> None:
    rng = np.random.default_rng(0)
    benign = rng.random((1000, 2))
    attacks = np.stack([np.full(50, 0.96), rng.random(50)], axis=1)  # Only a generous threshold finds them.
    surprise = np.stack(
        [
            Surprise.fit(benign[:, i], benign[:, i])(np.concatenate([benign[:, i], attacks[:, i]]))
            for i in (0, 1)
        ],
        1,
    )
    config = UnionConfig(name="or", members=("a", "b"), budget=0.05, grid=8)
    shares, recall = split_budget(surprise, [""] * 1000 + ["dos"] * 50, config)
    assert shares[0] > 0.8
    assert recall == pytest.approx(1)
    assert split_budget(surprise[:1000], [""] * 1000, config) == ((0.5, 0.5), None)


def test_a_union_is_formed_for_every_seed_of_a_model_and_borrows_the_baselines() -> None:
    parts = [member("gat", "student", False, seed=s) for s in (1, 2)] + [member("early", "specialist", True)]
    table, told = form(pl.concat(parts), [UnionConfig(name="both", members=("gat", "early"))])
    made = table.filter(detector="both")
    assert made.select("variant", "seed").unique().sort("seed").rows() == [("student", 1), ("student", 2)]
    assert [t["members"] for t in told] == [["gat", "early"]] * 2
    test = made.filter(split="test", seed=1)
    low, high = test.filter(y=0)["score"].max(), test.filter(y=1)["score"].min()
    assert high > low  # type: ignore[operator]


def test_the_specialists_or_is_of_the_specialists_though_payload_dynamics_share_a_name() -> None:
    parts = [member(n, "specialist", False) for n in ("novelty", "early", "payload", "absence")]
    parts.append(member("payload", "label_free", True))
    union = UnionConfig(name="specialists_or", members=("novelty", "early", "payload", "absence"))
    table, told = form(pl.concat(parts), [union])
    assert table.filter(detector="specialists_or")["variant"].unique().to_list() == ["specialist"]
    assert [t["members"] for t in told] == [["novelty", "early", "payload", "absence"]]


def test_test_scores_do_not_move_the_split_or_a_validation_score() -> None:
    parts = [member("a", "specialist", True), member("b", "specialist", False)]
    shifted = [
        p.with_columns(
            pl.when(pl.col("split") == "test").then(pl.col("score") * 9 + 4).otherwise("score").alias("score")
        )
        for p in parts
    ]
    union = [UnionConfig(name="or", members=("a", "b"))]
    (one, told), (two, told_too) = form(pl.concat(parts), union), form(pl.concat(shifted), union)
    assert told == told_too
    is_val = {"detector": "or", "split": "val"}
    assert one.filter(**is_val).equals(two.filter(**is_val))


def test_a_union_is_left_out_where_specialists_are_not_scored_and_other_missing_members_are_an_error() -> (
    None
):
    # Flows have no specialists, and the default unions have them as members.
    scores = member("vgae", "teacher", True)
    same, told = form(scores, [UnionConfig(name="or", members=("vgae", "novelty", "early"))])
    assert same.equals(scores)
    assert told == []
    with pytest.raises(DataError, match="a member 'x' that nothing scored"):
        form(scores, [UnionConfig(name="or", members=("vgae", "x"))])
    with pytest.raises(DataError, match="has a detector's name"):
        form(scores, [UnionConfig(name="vgae", members=("vgae",))])
