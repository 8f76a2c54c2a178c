"""``candor folds`` refuses what are no folds before anything runs; what it prints is in tests/unit/ids/test_folds.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("-d", "synthetic"), "two datasets or more"),
        (("-d", "synthetic,synthetic"), "'synthetic' is named twice"),
        (("-d", "synthetic,hcrl_sa", "--metric", "auc"), "no metric 'auc'"),
    ],
)
def test_what_are_no_folds_is_refused_before_anything_runs(
    given: tuple[str, ...], said: str, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = run(capsys, "folds", "kd", *given, code=2)
    assert said in told
    assert not (empty_machine / "cache").exists()
