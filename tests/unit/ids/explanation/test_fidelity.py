"""Fidelity in numbers and in words: a difference with its interval, and whether there was anything to lose."""

from __future__ import annotations

from typing import Any

import pytest

from candor.ids.explanation.fidelity import fidelity
from candor.report.explained import fidelity_lines


def window(margin: float = 10.0, **lost: float) -> dict[str, Any]:
    parts = ("edges", "nodes", "features")
    zeros = {f"{how}_{part}_lost": 0.0 for part in parts for how in ("named", "random", "all")}
    return {"answers": "classifier", "margin": margin, "masked_edges_lost": 0.0, **zeros, **lost}


def test_the_difference_has_an_interval_over_windows_and_a_share_of_them() -> None:
    named = (4.0, 5.0, 6.0, 0.5)
    rows = [window(named_edges_lost=n, random_edges_lost=1.0, all_edges_lost=8.0) for n in named]
    found = fidelity(rows)["classifier"]["of"]["edges"]
    assert found["difference"] == pytest.approx(2.875)
    # Student's quantile of 3 degrees of freedom is 3.182, the standard deviation 2.394.
    assert found["low"] == pytest.approx(2.875 - 3.182 * 2.394 / 2, abs=2e-3)
    assert found["high"] == pytest.approx(2.875 + 3.182 * 2.394 / 2, abs=2e-3)
    assert found["share_hurting_more"] == 0.75
    assert found["all_share"] == pytest.approx(0.8)


def test_one_window_has_no_interval() -> None:
    found = fidelity([window(named_nodes_lost=2.0)])["classifier"]["of"]["nodes"]
    assert (found["difference"], found["low"], found["high"]) == (2.0, None, None)


def test_where_edges_hardly_matter_the_words_say_so() -> None:
    deaf = fidelity([window(all_edges_lost=0.1, all_features_lost=9.0)] * 2)["classifier"]
    edges, _, _, features = fidelity_lines("classifier", deaf)
    assert "Without any edge the decision moves by 1 % of what it was: it hardly looks at edges." in edges
    assert features.endswith("Without any feature the decision moves by 90 % of what it was.")


def test_each_who_answers_is_told_apart_and_a_sequence_has_no_masks() -> None:
    rows = [window(), {**window(), "answers": "temporal"}, {**window(), "answers": "payload"}]
    told = fidelity(rows)
    assert set(told) == {"classifier", "temporal"}
    assert "edges of the masks" in told["classifier"]["of"]
    assert "edges of the masks" not in told["temporal"]["of"]
