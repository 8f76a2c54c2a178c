"""Examples that depend on the test alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis.internal.conjecture import providers


def same_draws_everywhere(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """A seed gives the same examples in every process.

    Hypothesis draws now and then a number or a text that stands in our own sources, in those that were imported so far.
    Which these are depends on what else a worker was given to run, so even ``derandomize`` draws other examples each time.

    Args:
        put: ``setattr``, or that of a ``monkeypatch``.
    """
    put(providers, "_get_local_constants", providers.Constants)  # None at all.
    providers.CONSTANTS_CACHE.cache.clear()
