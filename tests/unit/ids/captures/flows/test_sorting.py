from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from candor.ids.captures.flows import sorting
from candor.ids.captures.flows.sorting import Sorter


def table(rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {"t": rng.integers(0, 40, rows).astype(float), "row": np.arange(rows), "x": rng.random(rows)}
    )


@pytest.mark.parametrize("fan_in", [2, 3, 16])
def test_rows_come_back_in_order_whatever_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fan_in: int
) -> None:
    monkeypatch.setattr(sorting, "STEP_ROWS", 7)
    monkeypatch.setattr(sorting, "FAN_IN", fan_in)
    whole = table(1000, 0)
    sorter = Sorter(tmp_path / "runs", ("t", "row"), run_rows=90)
    for part in whole.iter_slices(31):
        sorter.add(part)
    pieces = list(sorter.merged())
    assert pl.concat(pieces).equals(whole.sort("t", "row"))
    # Held at once: a step of every run, and never the whole.
    assert max(piece.height for piece in pieces) <= 7 * fan_in
    assert not (tmp_path / "runs").exists()


def test_runs_of_an_attempt_that_died_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    first = Sorter(tmp_path / "runs", ("t",), run_rows=2)
    first.add(table(5, 1))
    second = Sorter(tmp_path / "runs", ("t",), run_rows=2)
    second.add(table(3, 2))
    assert pl.concat(list(second.merged())).height == 3


def test_nothing_sorted_is_nothing(tmp_path: Path) -> None:
    assert list(Sorter(tmp_path / "runs", ("t",)).merged()) == []
