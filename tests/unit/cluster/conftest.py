"""Makes ``tests/support`` importable: pytest's importlib mode adds nothing to ``sys.path``."""

from __future__ import annotations

import sys
from pathlib import Path

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

import pytest  # noqa: E402
from flow_kit import Kit  # noqa: E402


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Roots in a folder with a space and a letter beyond ASCII in its name."""
    return Kit(tmp_path / "röots of tests")
