"""Makes ``tests/support`` importable: pytest's importlib mode adds nothing to ``sys.path``."""

from __future__ import annotations

import sys
from pathlib import Path

SUPPORT = next(p for p in Path(__file__).resolve().parents if p.name == "tests") / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))
