"""The main job as a person starts it, on a world small enough for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        done = subprocess.run(
            self.argv(*arguments), env=self.env, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run_kd(self, *sets: str, more: Sequence[str] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        flags = [part for value in (*TINY, *sets) for part in ("--set", value)]
        return self("run", "kd", "--dataset", "synthetic", *flags, *more, code=code)

    def artifact(self, stage: str) -> Path:
        """The only artifact of a stage."""
        (folder,) = (self.root / "cache" / "artifacts" / stage).iterdir()
        return folder
