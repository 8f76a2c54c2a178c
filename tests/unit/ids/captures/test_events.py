from __future__ import annotations

import polars as pl
import pytest

from candor.ids.captures import events


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 5], [4, 7]])
def test_events_of_stretches_join_to_those_of_the_whole(cuts: list[int]) -> None:
    frames = pl.DataFrame(
        {
            "timestamp": [100.0, 100.5, 101.0, 101.4, 104.0, 104.2, 104.9, 109.0],
            "label": [0, 1, 1, 1, 1, 1, 0, 1],
            "attack": ["", "a", "b", "a", "a", "b", "", "a"],
        }
    )
    whole = events.from_labels([frames], "c", 100.0, 1.0)
    edges = [0, *cuts, frames.height]
    parts = [
        events.from_labels([frames[low:high]], "c", 100.0, 1.0)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    assert events.join(parts, 1.0).sort("t_start", "attack").equals(whole.sort("t_start", "attack"))
    assert whole.height == 5


def test_no_event_joined_is_none() -> None:
    assert events.join([], 1.0).is_empty()
