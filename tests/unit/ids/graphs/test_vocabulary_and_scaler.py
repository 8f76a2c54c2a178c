from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor.ids.graphs import features
from candor.ids.graphs.features import EDGE_FEATURES, NODE_FEATURES
from candor.ids.graphs.scaler import Moments, Scaler
from candor.ids.graphs.vocabulary import Vocabulary


def test_unknown_ids_encode_to_zero_and_known_ones_from_one() -> None:
    v = Vocabulary.fit(np.array([7, 3, 7, 9], np.uint32), np.zeros(4, np.uint8))
    assert v.encode(np.array([3, 7, 9, 1, 100], np.uint32)).tolist() == [1, 2, 3, 0, 0]
    assert len(v) == 4


def test_an_id_that_only_attack_frames_carry_stays_unknown() -> None:
    v = Vocabulary.fit(np.array([3, 0, 3, 0], np.uint32), np.array([0, 1, 1, 1], np.uint8))
    assert v.ids.tolist() == [3]


def test_vocabulary_and_scaler_survive_json() -> None:
    v = Vocabulary(np.array([1, 1 << 29], np.uint32))
    assert Vocabulary.from_json(json.loads(json.dumps(v.to_json()))).ids.tolist() == v.ids.tolist()
    m = Moments(len(EDGE_FEATURES))
    m.add(np.random.default_rng(0).normal(size=(20, len(EDGE_FEATURES))))
    s = m.scaler(EDGE_FEATURES)
    again = Scaler.from_json(json.loads(json.dumps(s.to_json())))
    assert again.mean.tolist() == s.mean.tolist()
    assert again.std.tolist() == s.std.tolist()


def test_an_empty_vocabulary_knows_nothing() -> None:
    assert Vocabulary(np.zeros(0, np.uint32)).encode(np.array([1, 2], np.uint32)).tolist() == [0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_moments_merged_block_by_block_equal_those_of_all_rows(seed: int, blocks: int) -> None:
    x = np.random.default_rng(seed).normal(5, 3, size=(60, len(NODE_FEATURES)))
    m = Moments(len(NODE_FEATURES))
    for part in np.array_split(x, blocks):
        m.add(part)
    s = m.scaler(NODE_FEATURES)
    np.testing.assert_allclose(s.mean, x.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(s.std, x.std(axis=0), rtol=1e-9)


def test_constant_and_nearly_constant_columns_are_divided_by_their_floor_and_the_former_listed() -> None:
    x = np.zeros((1000, len(NODE_FEATURES)))
    i = [f.name for f in NODE_FEATURES].index("early_share")
    x[0, i] = 0.01
    m = Moments(len(NODE_FEATURES))
    m.add(x)
    s = m.scaler(NODE_FEATURES)
    assert s.std.tolist() == [f.std_floor for f in NODE_FEATURES]
    assert "late_share" in s.constant
    assert "early_share" not in s.constant


def test_a_scaler_without_rows_changes_nothing() -> None:
    s = Moments(2).scaler(NODE_FEATURES[:2])
    assert (s.mean.tolist(), s.std.tolist(), s.count) == ([0.0, 0.0], [1.0, 1.0], 0)


@pytest.mark.parametrize("table", [NODE_FEATURES, EDGE_FEATURES])
def test_every_feature_is_named_once_and_says_what_it_is(table: tuple[features.Feature, ...]) -> None:
    assert len({f.name for f in table}) == len(table)
    assert all(f.definition and f.unit and f.std_floor > 0 for f in table)
    assert all(f"`{f.name}`" in features.markdown(table) for f in table)


def test_the_two_views_divide_the_node_features() -> None:
    agnostic, aware = features.columns("agnostic"), features.columns("aware")
    assert sorted(agnostic + aware) == features.columns()
    assert not set(agnostic) & set(aware)
    assert len(EDGE_FEATURES) == 11
