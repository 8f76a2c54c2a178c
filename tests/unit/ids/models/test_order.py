"""Sequences of IDs: chances that are chances, contexts that stop at a cut, IDs that were never seen."""

from __future__ import annotations

import numpy as np
import pytest

from candor.errors import DataError
from candor.ids.models.order import Order

TURNS = np.tile([7, 9, 40], 200)


def since(n: int, *cuts: int) -> np.ndarray:
    out = np.arange(n)
    for cut in cuts:
        out[cut:] = np.arange(n - cut)
    return out


def fitted(order: int = 3) -> Order:
    return Order.fit(TURNS, since(len(TURNS)), order=order, smoothing=0.1)


def test_what_always_follows_is_likely_and_another_id_is_not():
    p = fitted().chances(np.array([7, 9, 40, 7, 40]), since(5))
    assert p[0] == pytest.approx(1 / 4)  # Three IDs and the slot of all others; nothing stands before it.
    assert (p[1:4] > 0.99).all()
    assert p[4] < 0.01


@pytest.mark.parametrize("order", [2, 3, 4])
def test_chances_of_all_ids_sum_to_one(order):
    before = [7, 9, 40]
    found = [fitted(order).chances(np.array([*before, last]), since(4))[-1] for last in (7, 9, 40, 1000)]
    assert sum(found) == pytest.approx(1)


def test_a_context_does_not_reach_over_a_cut():
    ids = np.array([7, 9, 40, 9, 40])
    whole, cut = (fitted().chances(ids, s) for s in (since(5), since(5, 3)))
    assert np.array_equal(whole[:3], cut[:3])
    assert cut[3] == pytest.approx(1 / 4)
    assert cut[4] > 0.99 > whole[3]


def test_an_unheard_of_id_is_unlikely_wherever_it_comes():
    p = fitted().chances(np.array([7, 9, 1234]), since(3))
    assert p[2] < 0.01


def test_longer_contexts_tell_what_shorter_cannot():
    ids = np.tile([1, 5, 2, 1, 5, 3], 200)
    asked = np.array([2, 1, 5, 3])
    pairs, triples, fours = (
        Order.fit(ids, since(len(ids)), order=k, smoothing=0.1).chances(asked, since(4))[-1]
        for k in (2, 3, 4)
    )
    assert pairs == pytest.approx(0.5, abs=0.05)
    assert triples == pytest.approx(0.5, abs=0.05)
    assert fours > 0.9


def test_contexts_that_do_not_fit_a_number_are_refused():
    many = np.arange(40_000)
    with pytest.raises(DataError, match="too many for sequences of 5"):
        Order.fit(many, since(len(many)), order=5, smoothing=0.1)
