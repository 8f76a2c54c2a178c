"""Makes ``tests/support`` importable: pytest's importlib mode adds nothing to ``sys.path``."""

from __future__ import annotations

import sys
from pathlib import Path

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

import pytest  # noqa: E402
from platforms import left_out  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what repeats other tests on less."""
    out = [item for item in items if _platform(item) and left_out(item.originalname, _platform(item))]  # type: ignore[attr-defined]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def _platform(item: pytest.Item) -> str:
    call = getattr(item, "callspec", None)
    return str(call.params.get("platform", "")) if call is not None else ""
