"""Waiting for a fact and not for a time: limits are so far off that only what never comes reaches them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import IO, Any

#: Longer than a machine that stands still for a minute, and than one that is ten times slower.
LIMIT_S = 300.0


def wait_until(true: Callable[[], object], what: str, timeout_s: float = LIMIT_S) -> None:
    """Until it is ``true``; ``what`` is waited for."""
    until = time.monotonic() + timeout_s
    while not true():
        late = time.monotonic() >= until
        # Asked once more: whoever stood still for so long did not look meanwhile.
        assert not late or true(), f"waited in vain for {what}"
        time.sleep(0.05)


def wait_while(
    process: subprocess.Popen[Any], true: Callable[[], object], what: str, timeout_s: float = LIMIT_S
) -> None:
    """Until it is ``true``, which has to become so before the process ends."""

    def known() -> bool:
        ended = process.poll() is not None
        if true():
            return True
        assert not ended, f"ended before {what}: {_said(process.stdout)}{_said(process.stderr)}"
        return False

    wait_until(known, what, timeout_s)


def _said(stream: IO[Any] | None) -> str:
    return "" if stream is None else str(stream.read())
