from __future__ import annotations

import numpy as np
import pytest
from graph_cases import bus, flood, frames

from candor.ids.config import AuditLimits
from candor.ids.graphs.shortcuts import findings, keyed_scores, measure

LIMITS = AuditLimits()


def aurocs(f: object) -> dict[str, float | None]:
    return {m.shortcut: m.auroc for m in measure("c", f, LIMITS)}  # type: ignore[arg-type]


def test_an_id_that_only_attacks_use_is_a_perfect_shortcut() -> None:
    found = aurocs(flood(bus(4.0), 1.0, 3.0))
    assert found["id"] == pytest.approx(1.0)
    assert found["delta_t"] == pytest.approx(0.5, abs=0.05)


def test_labels_at_random_have_no_shortcut() -> None:
    f = bus(20.0)
    y = (np.random.default_rng(0).random(len(f)) < 0.1).astype(np.uint8)
    found = aurocs(frames(f.t, f.id, data=f.data, y=y))
    assert all(value == pytest.approx(0.5, abs=0.05) for value in found.values())


def test_a_key_that_occurs_once_tells_nothing_of_itself() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.3).astype(np.uint8)
    assert len(np.unique(keyed_scores(np.arange(4000, dtype=np.uint64), y))) <= 2


def test_payloads_never_seen_score_like_payloads_seen_once() -> None:
    """Fuzzing: every attack payload is new, benign ones recur."""
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.3).astype(np.uint8)
    key = np.where(y == 1, rng.integers(1 << 60, size=4000), 7).astype(np.uint64)
    score = keyed_scores(key, y)
    assert score[y == 1].min() > score[y == 0].max()


def test_time_that_stands_still_at_attacks_is_an_error_and_file_order_a_warning() -> None:
    t = np.arange(2000) * 0.001
    y = np.r_[np.zeros(1000), np.ones(1000)].astype(np.uint8)
    t[1000:] = t[999]
    found = {m.shortcut: m for m in measure("c", frames(t, np.arange(2000) % 5, y=y), LIMITS)}
    assert (found["delta_t"].auroc, found["delta_t"].severity) == (1.0, "error")
    assert (found["row_order"].auroc, found["row_order"].severity) == (1.0, "warning")
    ids = {f.id: f.severity for f in findings(list(found.values()), LIMITS)}
    assert ids["shortcut_delta_t"] == "error"


def test_one_class_has_no_auroc_and_no_finding() -> None:
    measured = measure("c", bus(2.0), LIMITS)
    assert {m.auroc for m in measured} == {None}
    assert list(findings(measured, LIMITS)) == []


def test_a_capture_of_attacks_only_is_judged_beside_an_attack_free_one() -> None:
    """The labels of CICIoV2024: attack files hold nothing else, on IDs that the benign file never has."""
    attacks = frames(np.arange(500) * 0.01, np.full(500, 0x7), y=np.ones(500))
    found = {m.shortcut: m for m in measure("c", attacks, LIMITS, beside=bus(4.0))}
    assert found["id"].auroc == pytest.approx(1.0)
    assert found["id"].severity == "warning"
    assert (found["delta_t"].auroc, found["row_order"].auroc) == (None, None)
