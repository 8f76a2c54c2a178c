"""``candor ablate`` refuses what it could not print before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from candor.cli.main import main


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--axis", "gat.hidden=8", "--metric", "auc"), "no metric 'auc'"),
        (("--axis", "gat.hidden"), "'gat.hidden' is no axis"),
        (("--axis", "gat.hiden=8"), "hiden"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    given: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        main(["ablate", "kd", "-d", "synthetic", *given])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "root" / "cache").exists()
