"""The command line over the toy pipeline, with SLURM behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toy_pipeline import SCRIPT
from waiting import LIMIT_S, wait_until

FAST = ("--on", "slurm", "--site-set", "poll_s=0.5", "--site-set", "warning_s=50")
PASSED = '["HOME", "USER", "PATH", "LANG", "PYTHONPATH", "TOY_FAIL", "TOY_WAIT_S", "TOY_HOLD", "TOY_EAT_MB"]'

PASS_ENV = ("--site-set", f"pass_env={PASSED}")


@dataclass
class Toy:
    """``candor`` over the toy pipeline with its roots below ``root``."""

    root: Path

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, str(SCRIPT), *args]

    def env(self, **more: str) -> dict[str, str]:
        return {**os.environ, "CANDOR_ROOT": str(self.root), "COLUMNS": "200", **more}

    def __call__(self, *args: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*args),
            env=self.env(**more),
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *args: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        return self("run", "toy", "-d", "small", *FAST, *PASS_ENV, *args, code=code, **more)

    def started(self, *args: str) -> subprocess.Popen[str]:
        """The same, under way."""
        argv = self.argv("run", "toy", "-d", "small", *FAST, *PASS_ENV, *args)
        return subprocess.Popen(
            argv, env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def folder(self) -> Path:
        (found,) = (self.root / "runs").iterdir()
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "journal.jsonl").read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["event"] == name]

    def record(self, task: str, attempt: int = 1) -> dict[str, Any]:
        found = json.loads((self.folder / "tasks" / task / f"attempt-{attempt}" / "record.json").read_text())
        assert isinstance(found, dict)
        return found

    def wait_for_step(self, step: int) -> None:
        """Until a number got that far, on whatever machine."""
        wait_until(lambda: step_of(self) >= step, f"step {step}")

    def wait_for_both(self) -> None:
        """Until both numbers made their first step."""
        wait_until(lambda: len(list(self.root.glob("cache/scratch/number/*/step"))) == 2, "two numbers")


def step_of(toy: Toy) -> int:
    """The furthest step that a number's checkpoint notes."""
    furthest = 0
    for path in toy.root.glob("cache/scratch/*/*/step"):  # rglob fails where a folder goes while it looks.
        with suppress(FileNotFoundError):  # It ended meanwhile.
            furthest = max(furthest, int(path.read_text()))
    return furthest
