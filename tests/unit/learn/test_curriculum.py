import numpy as np
import pytest

from candor.learn.curriculum import CurriculumSampler, Schedule, choose

SCHEDULE = Schedule(start_ratio=1.0, ramp_epochs=6, hard_share=0.5)
Y = np.r_[np.ones(50), np.zeros(950)].astype(np.uint8)
HARDNESS = np.r_[np.zeros(50), np.linspace(0, 1, 950)]


def test_the_first_epoch_is_balanced_and_the_ramp_ends_at_the_natural_ratio():
    counts = [SCHEDULE.benign_count(e, 950, 50) for e in range(8)]
    assert counts[0] == 50
    assert counts[6:] == [950, 950]
    assert counts == sorted(counts)


def test_every_attack_is_in_every_epoch_and_nothing_twice():
    for epoch in range(7):
        chosen = choose(SCHEDULE, Y, HARDNESS, epoch=epoch, seed=1)
        assert len(set(chosen)) == len(chosen)
        assert set(range(50)) <= set(chosen)


def test_hard_benign_windows_are_shown_more_often():
    shown = np.concatenate([choose(SCHEDULE, Y, HARDNESS, epoch=0, seed=s) for s in range(60)])
    benign = shown[shown >= 50]
    assert HARDNESS[benign].mean() > 0.55
    uniform = Schedule(1.0, 6, hard_share=0.0)
    even = np.concatenate([choose(uniform, Y, HARDNESS, epoch=0, seed=s) for s in range(60)])
    assert HARDNESS[even[even >= 50]].mean() == pytest.approx(0.5, abs=0.03)


def test_more_attacks_than_benign_windows_shows_them_all():
    y = np.r_[np.ones(90), np.zeros(10)].astype(np.uint8)
    assert len(choose(SCHEDULE, y, np.zeros(100), epoch=0, seed=0)) == 100


def test_batches_cover_exactly_the_chosen_windows_within_the_budget():
    nodes, edges = np.full(1000, 10), np.full(1000, 30)
    sampler = CurriculumSampler(SCHEDULE, Y, HARDNESS, nodes, edges, max_nodes=100, max_edges=400, seed=3)
    for epoch in (0, 2, 7):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        assert sorted(i for b in batches for i in b) == sampler.chosen.tolist()
        assert max(len(b) for b in batches) <= 10


def test_an_epoch_repeats_exactly_when_resumed():
    def batches(epochs):
        sampler = CurriculumSampler(
            SCHEDULE, Y, HARDNESS, np.full(1000, 10), np.full(1000, 30), max_nodes=100, max_edges=400, seed=3
        )
        for epoch in epochs:
            sampler.set_epoch(epoch)
        return list(sampler)

    assert batches([0, 1, 2, 3]) == batches([3])
