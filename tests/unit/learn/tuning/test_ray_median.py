"""The median rule for trials on Ray, without Ray."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tuning_kit import SPACE

pytest.importorskip("ray")


def told(rule: object, name: str, *values: float) -> list[str]:
    """What the rule says after each epoch of a trial."""
    trial = SimpleNamespace(trial_id=name)
    return [
        rule.on_trial_result(None, trial, {"loss": value, "epoch": epoch + 1})  # type: ignore[attr-defined]
        for epoch, value in enumerate(values)
    ]


def curves(*levels: float) -> list[dict[int, float]]:
    return [dict.fromkeys(range(4), level) for level in levels]


def test_a_trial_behind_the_median_is_stopped_after_the_warm_up_and_not_before() -> None:
    from candor.learn.tuning.ray_median import Median

    rule = Median(SPACE, curves(1, 2, 3, 4, 5))
    assert told(rule, "a", 9.0, 9.0, 9.0) == ["CONTINUE", "CONTINUE", "STOP"]
    # Its best so far counts, since the best weights are kept.
    assert told(rule, "b", 2.5, 9.0, 9.0, 9.0) == ["CONTINUE"] * 4


def test_with_too_few_to_compare_with_nobody_is_stopped() -> None:
    from candor.learn.tuning.ray_median import Median

    rule = Median(SPACE, curves(1, 2, 3, 4))
    assert told(rule, "a", 9.0, 9.0, 9.0) == ["CONTINUE"] * 3
    rule.on_trial_complete(None, SimpleNamespace(trial_id="a"), {})
    assert told(rule, "b", 8.0, 8.0, 8.0) == ["CONTINUE", "CONTINUE", "STOP"]


def test_a_metric_to_be_raised_is_compared_the_other_way_round() -> None:
    from candor.learn.tuning.ray_median import Median

    rule = Median(SPACE.model_copy(update={"mode": "max"}), curves(1, 2, 3, 4, 5))
    assert told(rule, "a", 2.0, 2.0, 2.0)[-1] == "STOP"
    assert told(rule, "b", 4.0, 4.0, 4.0)[-1] == "CONTINUE"
