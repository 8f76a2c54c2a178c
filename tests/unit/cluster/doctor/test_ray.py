"""Ray counts only if it worked."""

from __future__ import annotations

import pytest

from candor.cluster.doctor.ray import judge_ray


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"product": 42, "elsewhere": True, "ray": "2"}, "ok"),
        ({"product": 41, "elsewhere": True, "ray": "2"}, "failed"),
        ({"product": 42, "elsewhere": False, "ray": "2"}, "failed"),
        ({"error": "RayUnavailable: no"}, "failed"),
        ({}, "failed"),
    ],
)
def test_ray_counts_only_if_another_process_came_to_the_product(told: dict[str, object], state: str) -> None:
    assert judge_ray(told, "", 42).state == state
