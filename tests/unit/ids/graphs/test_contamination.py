"""An attack inside the calibration seconds is set aside, and clean seconds are left untouched."""

from __future__ import annotations

import numpy as np
import pytest
from graph_cases import bus, flood

from candor.ids.graphs.calibration import first_seconds
from candor.ids.graphs.contamination import quiet
from candor.ids.graphs.stream import prepare

CLEAN = bus(10.0)


def calibrated(frames, robust=True):  # type: ignore[no-untyped-def]
    return first_seconds(frames, 10.0, vehicle="v", capture="c", robust=robust)


def test_clean_seconds_give_the_same_profile_with_and_without() -> None:
    start = prepare(CLEAN)
    kept = quiet(CLEAN, start)
    assert kept.pieces == [start]
    assert kept.set_aside_s == 0


@pytest.mark.parametrize(("begin", "end"), [(0.0, 5.0), (4.0, 10.0), (2.0, 3.0)])
def test_flooding_in_the_start_leaves_no_trace_in_the_profile(begin: float, end: float) -> None:
    attacked = flood(CLEAN, begin, end, identifier=0)
    plain, robust = calibrated(attacked, robust=False), calibrated(attacked)
    assert 0 in plain.key_P
    assert 0 not in robust.key_P
    assert robust.set_aside_s == pytest.approx(end - begin, abs=1.1)
    np.testing.assert_allclose(robust.median_interval_s_P, calibrated(CLEAN).median_interval_s_P, rtol=0.05)


def test_a_known_id_that_is_forged_keeps_its_own_rhythm() -> None:
    attacked = flood(CLEAN, 1.0, 8.0, identifier=0x105)  # 0x105 comes every 30 ms by itself.
    robust = calibrated(attacked)
    assert robust.median_interval_s_P[5] == pytest.approx(0.030, rel=0.05)
    assert calibrated(attacked, robust=False).median_interval_s_P[5] < 0.005


def test_a_forgery_too_slow_for_the_bus_is_seen_on_its_id() -> None:
    rng = np.random.default_rng(0)
    fast = flood(CLEAN, 3.0, 6.0, identifier=0x105)
    injected = np.flatnonzero(fast.y)
    drop = rng.permutation(injected)[
        len(injected) // 8 :
    ]  # One in eight is left: 125 frames a second beside 400.
    keep = np.setdiff1d(np.arange(len(fast.t)), drop)
    from dataclasses import replace

    slow = replace(
        fast,
        **{n: getattr(fast, n)[keep] for n in ("t", "id", "data", "dlc", "y", "attack_code", "flags")},
    )
    assert calibrated(slow).median_interval_s_P[5] == pytest.approx(0.030, rel=0.05)


def test_labels_are_not_read() -> None:
    from dataclasses import replace

    attacked = flood(CLEAN, 2.0, 4.0)
    blind = replace(attacked, y=np.zeros_like(attacked.y), attack_code=np.full_like(attacked.attack_code, -1))
    one, two = calibrated(attacked), calibrated(blind)
    np.testing.assert_array_equal(one.median_interval_s_P, two.median_interval_s_P)
    assert one.set_aside_s == two.set_aside_s > 0
