"""How busy the GPU is while a stage runs: sampled by ``nvidia-smi``, kept as rows of their own clock."""

from __future__ import annotations

import shutil
import subprocess
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from candor.tracking.alerts import DEVICE, GPU_USE
from candor.tracking.recorder import JsonlRecorder

_EVERY_S = 5.0
_QUERY = ["--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


def parse_sample(text: str) -> dict[str, float]:
    """``nvidia-smi``'s answer as shares of 1 and GB: the mean over the GPUs it lists. Empty if it lists none."""
    cells = [line.split(",") for line in text.splitlines() if line.count(",") == 2]
    try:
        numbers = [[float(cell) for cell in line] for line in cells]
    except ValueError:  # "[N/A]" where a card is split.
        return {}
    if not numbers:
        return {}
    return {
        GPU_USE: fmean(n[0] for n in numbers) / 100,
        "gpu_memory_gb": fmean(n[1] for n in numbers) * 2**20 / 1e9,
        "gpu_memory_share": fmean(n[1] / n[2] for n in numbers),
    }


class DeviceRecorder(JsonlRecorder):
    """Adds a ``device`` row beside every ``epoch`` row: means of the samples since the one before.

    Without an ``nvidia-smi`` that answers it is a plain recorder.
    """

    def __init__(self, scratch: Path, task: str, *, every_s: float = _EVERY_S) -> None:
        super().__init__(scratch, task)
        self._samples: list[dict[str, float]] = []
        self._every_s, self._stop = every_s, threading.Event()
        if shutil.which("nvidia-smi"):
            watch = threading.Thread(target=_watch, args=(weakref.ref(self),), name="gpu-use", daemon=True)
            watch.start()

    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None:
        """Append one row, and what the device did meanwhile."""
        super().log(step, metrics, kind=kind)
        samples, self._samples = self._samples, []
        if samples and kind == "epoch":
            means = {name: fmean(s[name] for s in samples) for name in samples[0]}
            super().log(step, means, kind=DEVICE)

    def rewind(self, step: int, *, kind: str = "epoch") -> None:
        """Forget rows of ``kind`` at or after ``step``, and those of the device beside them."""
        super().rewind(step, kind=kind)
        if kind == "epoch":
            super().rewind(step, kind=DEVICE)

    def publish(self, out: Path) -> None:
        """Write the table; sampling ends."""
        self._stop.set()
        super().publish(out)

    @property
    def stopped(self) -> bool:
        """True once sampling ended, or when it does within a sampling interval."""
        return self._stop.wait(self._every_s)

    def add_sample(self, sample: dict[str, float]) -> None:
        """Take one sample into the next device row."""
        self._samples.append(sample)


def _watch(of: weakref.ref[DeviceRecorder]) -> None:
    """Sample until the recorder is done or gone: that of a failed task is never published."""
    while (recorder := of()) is not None and not recorder.stopped:
        try:
            told = subprocess.run(
                ["nvidia-smi", *_QUERY], capture_output=True, text=True, timeout=10, check=True
            )
        except subprocess.TimeoutExpired:
            continue  # A busy machine; the next sample may come.
        except (OSError, subprocess.SubprocessError):
            return
        sample = parse_sample(told.stdout)
        if sample:
            recorder.add_sample(sample)
        del recorder
