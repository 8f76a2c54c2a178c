"""Everything a stage says through logging and warnings goes to the log of its attempt."""

from __future__ import annotations

import faulthandler
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


@contextmanager
def attempt_log(path: Path) -> Iterator[None]:
    """Send log records (INFO and up), warnings and the stack of a native crash to ``path`` while inside."""
    root = logging.getLogger()
    stream = path.open("a", encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(_FORMAT))
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else logging.INFO)
    # Under pytest someone else listens already.
    own_faults = not faulthandler.is_enabled()
    if own_faults:
        faulthandler.enable(stream)
    try:
        # Inside catch_warnings, what an earlier attempt of this process warned of is warned of again.
        with warnings.catch_warnings():
            logging.captureWarnings(True)
            yield
    finally:
        logging.captureWarnings(False)
        if own_faults:
            faulthandler.disable()
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
        stream.close()
