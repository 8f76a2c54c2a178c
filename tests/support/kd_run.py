"""The main job as a person starts it, on a world small enough for tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from waiting import LIMIT_S

from candor.cli.main import main

#: Three cars, seconds of traffic, small windows, two epochs: every stage runs, in about half a minute.
TINY: tuple[str, ...] = (
    "synthetic.ids_per_vehicle=12",
    "synthetic.benign_s=15",
    "synthetic.attack_s=18",
    "calibration.calibration_s=8",
    "window.window_frames=50",
    "window.stride_frames=50",
    "split.blocks=10",
    "split.embargo_frames=50",
    "variants.teacher.scale=small",
    "training.max_epochs=3",
    "training.threads=1",
    "fusion.episodes=5",
    "evaluation.bootstrap=20",
)


#: ``candor run kd`` on it.
KD: tuple[str, ...] = (
    "run",
    "kd",
    "--dataset",
    "synthetic",
    *(p for value in TINY for p in ("--set", value)),
)


@dataclass(frozen=True)
class Candor:
    """``candor`` with its roots below ``root``."""

    root: Path

    def argv(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("candor")), *arguments]

    @property
    def env(self) -> dict[str, str]:
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("CANDOR_") or k == "CANDOR_SHARED_DATA"
        }
        return clean | {"CANDOR_ROOT": str(self.root), "OMP_NUM_THREADS": "1", "COLUMNS": "220"}

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """In this process: loading torch and what goes with it takes six seconds of a processor in one of its own."""
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as within:
            patch = within.enter_context(pytest.MonkeyPatch.context())
            for name in os.environ.keys() - self.env.keys():
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", self.argv(*arguments))  # Jobs are started by the same script.
            within.enter_context(redirect_stdout(out))
            within.enter_context(redirect_stderr(err))
            ended = within.enter_context(pytest.raises(SystemExit))
            main(arguments)
        told = ended.value.code
        status = told if isinstance(told, int) else 0 if told is None else 1
        return _checked(subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue()), code)

    def apart(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """In a process of its own, as a person starts it."""
        done = subprocess.run(
            self.argv(*arguments), env=self.env, capture_output=True, text=True, timeout=3 * LIMIT_S
        )
        return _checked(done, code)

    def run_kd(self, *sets: str, more: Sequence[str] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        return self(*KD, *(part for value in sets for part in ("--set", value)), *more, code=code)

    def artifact(self, stage: str) -> Path:
        """The only artifact of a stage."""
        (folder,) = (self.root / "cache" / "artifacts" / stage).iterdir()
        return folder


def _checked(done: subprocess.CompletedProcess[str], code: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
