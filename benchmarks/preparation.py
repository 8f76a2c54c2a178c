"""Building the captures of a data set on two cores, against one: a capture each by threads, as the stage does by itself;
two threads over one capture at a time; and two processes.

Generated, imported and calibrated drives at several sizes; every way publishes, joins and fits as the stage does. The
figures say from what size a second process pays on this machine, which is what shards.PARALLEL_ENTRIES is set by.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import Measurement, save, seconds
from candor.flow.stage import Inputs, Output
from candor.ids.graphs import shards

#: Seconds of driving of each of the 17 captures.
DRIVES_S = (60, 240, 720)
REPEATS = 5


class Way(NamedTuple):
    """``GraphConfig.workers``, ``GraphConfig.threads``, and whether workers are processes."""

    workers: int
    threads: int
    processes: bool = False


WAYS = {"one": Way(1, 1), "captures": Way(2, 2), "blocks": Way(1, 2), "processes": Way(2, 1, processes=True)}


class _Silent:
    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...


def output(path: Path) -> Output:
    scratch = path.with_name(f"{path.name}-scratch")
    path.mkdir(parents=True)
    scratch.mkdir()
    return Output(path, scratch, _Silent(), lambda done, total, note="": None)


def prepared(folder: Path, drive_s: float) -> dict[str, Path]:
    """The folders of ingest and calibrate."""
    # Here and not above: a spawned process imports this module, and is to pay for what a build needs only.
    from candor.ids.captures.ingest import ingest
    from candor.ids.captures.synthetic.generate import generate
    from candor.ids.config import CalibrationTask, IngestConfig, SyntheticConfig
    from candor.ids.graphs.calibration import calibrate

    done: dict[str, Path] = {}

    def run(stage: Callable[[Any, Inputs, Output], object], config: object, name: str, **inputs: str) -> None:
        out = output(folder / name)
        stage(config, Inputs({k: done[v] for k, v in inputs.items()}), out)
        done[name] = out.path

    run(generate, SyntheticConfig(benign_s=drive_s, attack_s=drive_s), "generate")
    run(ingest, IngestConfig(dataset="synthetic"), "ingest", captures="generate")
    run(calibrate, CalibrationTask(), "calibrate", ingest="ingest")
    return {name: done[name] for name in ("ingest", "calibrate")}


def built(ready: dict[str, Path], folder: Path, way: Way) -> None:
    """All splits, into a folder that is removed again."""
    from candor.ids.config import GraphConfig
    from candor.ids.graphs.builder import build

    shards.PARALLEL_ENTRIES = 0 if way.processes else sys.maxsize
    config = GraphConfig(splits=("train", "val", "test"), workers=way.workers, threads=way.threads)
    out = output(folder / "build")
    build(config, Inputs(ready), out)
    for written in (out.path, out.scratch):
        shutil.rmtree(written)


def measured(drive_s: float) -> tuple[int, dict[str, float]]:
    """Entries (window × frame), and median seconds of each way."""
    import polars as pl

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ready = prepared(folder, drive_s)
        entries = int(pl.read_parquet(ready["ingest"] / "catalog.parquet")["rows"].sum())

        def timed(way: Way) -> Callable[[], None]:
            return lambda: built(ready, folder, way)

        return entries, seconds({name: timed(way) for name, way in WAYS.items()}, repeats=REPEATS)


def run() -> list[Measurement]:
    figures: dict[str, Any] = {"processors": len(os.sched_getaffinity(0))}
    ratio = 0.0
    for drive_s in DRIVES_S:
        entries, took = measured(drive_s)
        ratio = took["one"] / took["captures"]
        size = f"{entries / 1e6:.1f} M entries"
        figures[f"{size}: s in one thread"] = round(took["one"], 2)
        figures[f"{size}: two captures at once"] = f"× {ratio:.2f}"
        figures[f"{size}: two threads over blocks"] = f"× {took['one'] / took['blocks']:.2f}"
        figures[f"{size}: two processes"] = f"× {took['one'] / took['processes']:.2f}"
    bound = "reading Parquet, publishing shards, joining them"
    return [Measurement("preparation", ratio, 1.3, "× one capture, one thread at a time", bound, figures)]


if __name__ == "__main__":
    save(run())
