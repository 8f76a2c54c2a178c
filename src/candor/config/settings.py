"""Where things lie on this machine. Never part of a fingerprint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from candor.config.base import Config


class Settings(Config):
    """The three roots.

    Attributes:
        data_root: raw captures and the user's presets; wants a backed-up disk.
        cache_root: artifacts, scratch and locks; may be a purged scratch disk, everything in it can be made again.
        run_root: records of runs (``runs/<run>``); small text files, wants a backed-up disk.
    """

    data_root: Path
    cache_root: Path
    run_root: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Roots from ``CANDOR_DATA_ROOT``, ``CANDOR_CACHE_ROOT``, ``CANDOR_RUN_ROOT``.

        ``CANDOR_ROOT`` moves all three (``data/``, ``cache/`` and ``runs/`` below it); a root named on its own wins. Otherwise data and runs lie in the
        home (XDG data folder) and the cache on ``$SCRATCH``, else in the XDG cache folder. An empty variable counts as unset.
        """
        env = os.environ if env is None else env

        def folder(name: str) -> Path | None:
            return Path(env[name]).expanduser().absolute() if env.get(name) else None

        home = Path(env.get("HOME") or Path.home())
        root, own_data = folder("CANDOR_ROOT"), folder("CANDOR_DATA_ROOT")
        if root is not None:
            data, cache, runs = root / "data", root / "cache", root
        else:
            data = (folder("XDG_DATA_HOME") or home / ".local/share") / "candor"
            cache = (folder("SCRATCH") or folder("XDG_CACHE_HOME") or home / ".cache") / "candor"
            runs = own_data or data
        return cls(
            data_root=own_data or data,
            cache_root=folder("CANDOR_CACHE_ROOT") or cache,
            run_root=folder("CANDOR_RUN_ROOT") or runs,
        )
