"""Makes ``tests/support`` importable: pytest's importlib mode adds nothing to ``sys.path``."""

from __future__ import annotations

import sys
from pathlib import Path

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

import pytest  # noqa: E402
from cli_kit import Cli  # noqa: E402


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A command line whose roots lie in a folder with a space and a letter beyond ASCII in its name."""
    monkeypatch.setenv("CANDOR_ROOT", str(tmp_path / "a röot"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in (
        "CANDOR_DATA_ROOT",
        "CANDOR_CACHE_ROOT",
        "CANDOR_RUN_ROOT",
        "TOY_FAIL",
        "TOY_WAIT_S",
        "TOY_HOLD",
    ):
        monkeypatch.delenv(name, raising=False)
    return Cli(capsys)
