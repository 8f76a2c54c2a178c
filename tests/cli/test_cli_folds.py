"""``candor folds`` refuses what are no folds before anything runs; what it prints is in tests/unit/ids/test_folds.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.cli.main import main


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("-d", "synthetic"), "two datasets or more"),
        (("-d", "synthetic,synthetic"), "'synthetic' is named twice"),
        (("-d", "synthetic,hcrl_sa", "--metric", "auc"), "no metric 'auc'"),
    ],
)
def test_what_are_no_folds_is_refused_before_anything_runs(
    given: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        main(["folds", "kd", *given])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "root" / "cache").exists()
