"""Killing what a run consists of, and comparing what it leaves with an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toy_pipeline import SCRIPT, let_go
from waiting import LIMIT_S, wait_until

from candor.flow.artifact import ArtifactStore

#: What of an artifact's record tells when and how it was made, not what it is.
_HISTORY = ("created", "duration_s", "code_version", "summary")


def start(root: Path, *args: str, **env: str) -> subprocess.Popen[str]:
    """``candor run`` of the plan of twelve tasks, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "run", "twelve", "--dataset", "small", *args],
        env={**os.environ, "CANDOR_ROOT": str(root), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def artifacts(root: Path) -> dict[str, Any]:
    """stage/key → what is in it, digests of every file included. Each must be whole."""
    store = ArtifactStore(root / "cache")
    found = {}
    for folder in sorted((root / "cache/artifacts").glob("*/*")):
        stage, key = folder.parent.name, folder.name
        assert store.inspect(stage, key, verify=True) == ("published", ""), folder
        record = json.loads((folder / "record.json").read_text())
        found[f"{stage}/{key}"] = {k: v for k, v in record.items() if k not in _HISTORY}
    return found


def has_begun(root: Path) -> bool:
    """Whether a task of the run has started."""
    return any('"task_started"' in p.read_text() for p in root.glob("runs/*/journal.jsonl"))


def children(pid: int) -> Iterator[tuple[int, str]]:
    """(process, command line) of every process that ``pid`` started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if int(stat[1]) == pid and stat[0] != "Z":
                yield int(folder.name), command.strip()


def ray_victim(launcher: int, kind: str, rng: random.Random) -> int | None:
    """A process of the launcher's own Ray: its ``worker`` (one at work, if any), ``raylet``, ``gcs_server``, or itself."""
    if kind == "launcher":
        return launcher
    daemons = {
        name: pid
        for pid, line in children(launcher)
        for name in ("raylet", "gcs_server")
        if f"/{name} " in line
    }
    if kind != "worker":
        return daemons.get(kind)
    inside = list(children(daemons["raylet"])) if "raylet" in daemons else []
    workers = [(p, c) for p, c in inside if c.startswith("ray::") and not c.endswith("Agent")]
    busy = [(p, c) for p, c in workers if "IDLE" not in c and "Board" not in c]
    return rng.choice(busy or workers)[0] if workers else None


def kill_part(launcher: int, kind: str, rng: random.Random) -> bool:
    """Kill a ``ray_victim``; False if there is none right now, between two of its kind."""
    victim = ray_victim(launcher, kind, rng)
    try:
        os.kill(victim, signal.SIGKILL) if victim is not None else None
    except ProcessLookupError:
        return False
    return victim is not None


@contextmanager
def letting_go(root: Path, once: Callable[[], object] = lambda: True, what: str = "") -> Iterator[None]:
    """Numbers that TOY_HOLD keeps at a step go on, also those that get there later: ``once`` something is so.

    They go on in any case in the end. ``what``: in words.
    """
    over = threading.Event()
    missed: list[AssertionError] = []

    def release() -> None:
        try:
            # Before what is held gives up by itself.
            wait_until(lambda: over.is_set() or once(), what, LIMIT_S / 2)
        except AssertionError as e:
            missed.append(e)
        while not over.wait(0.05):
            let_go(root)

    thread = threading.Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not missed, missed
