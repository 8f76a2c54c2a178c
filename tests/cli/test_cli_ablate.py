"""``candor ablate`` refuses what it could not print before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--axis", "gat.hidden=8", "--metric", "auc"), "no metric 'auc'"),
        (("--axis", "gat.hidden"), "'gat.hidden' is no axis"),
        (("--axis", "gat.hiden=8"), "hiden"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    given: tuple[str, ...], said: str, empty_machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = run(capsys, "ablate", "kd", "-d", "synthetic", *given, code=2)
    assert said in told
    assert not (empty_machine / "cache").exists()
