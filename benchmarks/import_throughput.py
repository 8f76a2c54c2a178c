"""Text to validated frames on one core, against python-can's readers on the same file; and memory against file size.

    python benchmarks/import_throughput.py [--frames 1000000] [--json]

The files are made up. candor reads, checks and validates every frame (bad rows would go to quarantine); python-can builds
one Message per frame. Each figure is the best of three in a fresh process with one thread.

Goals: at least 8 times python-can on candump and on CSV; the peak of memory flat as the file grows tenfold.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GOAL_RATIO = 8.0
#: Peak memory with ten times the file, over that with one time.
GOAL_GROWTH = 1.25
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def write(folder: Path, frames: int) -> dict[str, Path]:
    """The same made-up traffic in each text format, and in python-can's own CSV."""
    import numpy as np

    rng = np.random.default_rng(7)
    paths = {
        name: folder / f"{frames}.{name}"
        for name in ("candump", "can_train_and_test", "hcrl_csv", "python_can_csv")
    }
    files = {name: path.open("w") for name, path in paths.items()}
    files["can_train_and_test"].write("timestamp,arbitration_id,data_field,attack\n")
    files["python_can_csv"].write("timestamp,arbitration_id,extended,remote,error,dlc,data\n")
    times = 1.6e9 + np.cumsum(rng.exponential(5e-4, frames))
    pool = rng.integers(0, 256, (4096, 8), dtype=np.uint8)
    for time_s, ident, pick in zip(
        times, rng.integers(0, 0x7FF, frames), rng.integers(0, 4096, frames), strict=True
    ):
        data = pool[pick].tobytes()
        text = data.hex().upper()
        files["candump"].write(f"({time_s:.6f}) can0 {ident:03X}#{text}\n")
        files["can_train_and_test"].write(f"{time_s:.6f},{ident:03X},{text},0\n")
        files["hcrl_csv"].write(f"{time_s:.6f},{ident:04x},8,{data.hex(',')},R\n")
        coded = base64.b64encode(data).decode()
        files["python_can_csv"].write(f"{time_s:.6f},{ident:#x},0,0,0,8,{coded}\n")
    for file in files.values():
        file.close()
    return paths


def run_candor(path: Path, name: str) -> int:
    """Frames read and validated, none kept."""
    from candor.ids.captures import stream
    from candor.ids.captures.formats import FORMATS

    with path.open("rb") as content:
        return sum(
            b.frames.height for b in stream.batches(content, FORMATS[name], str(path), max_backstep_s=1.0)
        )


def run_python_can(path: Path, name: str) -> int:
    """Messages read, none kept."""
    import can

    reader = can.CanutilsLogReader if name == "candump" else can.CSVReader
    return sum(1 for _ in reader(path))


def measure(tool: str, path: Path, name: str) -> dict[str, float]:
    """Best of three in this process, after a first run that loads the compiled kernels, and the peak of memory."""
    run = run_candor if tool == "candor" else run_python_can
    best, frames = float("inf"), 0
    for _ in range(3):
        start = time.perf_counter()
        frames = run(path, name)
        best = min(best, time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"frames": frames, "seconds": best, "peak_mib": peak}


def apart(tool: str, path: Path, name: str) -> dict[str, float]:
    """measure in a fresh process with one thread."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", tool, str(path), name],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def compare(paths: dict[str, Path]) -> list[dict[str, Any]]:
    """A row per format: frames per second of both, and their ratio."""
    rows = []
    for name in ("candump", "can_train_and_test", "hcrl_csv"):
        ours = apart("candor", paths[name], name)
        theirs_path = paths["candump" if name == "candump" else "python_can_csv"]
        theirs = apart("python-can", theirs_path, "candump" if name == "candump" else "csv")
        fast, slow = ours["frames"] / ours["seconds"], theirs["frames"] / theirs["seconds"]
        rows.append({"format": name, "candor_per_s": fast, "python_can_per_s": slow, "ratio": fast / slow})
    return rows


def main() -> None:
    """Print the table, or JSON. Exits 1 where a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", nargs=3, metavar=("TOOL", "PATH", "FORMAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        tool, path, name = args.measure
        print(json.dumps(measure(tool, Path(path), name)))
        return
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        paths = write(Path(folder), args.frames)
        speed = compare(paths)
        small = apart("candor", paths["candump"], "candump")["peak_mib"]
        large_path = Path(folder) / "tenfold.log"
        with large_path.open("wb") as out:
            for part in range(10):  # Later each time: a clock set back would send frames to quarantine.
                out.write(paths["candump"].read_bytes().replace(b"(160", b"(%d" % (160 + part)))
        large = apart("candor", large_path, "candump")["peak_mib"]
    memory = {"frames": args.frames, "peak_mib": small, "tenfold_peak_mib": large, "growth": large / small}
    met = all(row["ratio"] >= GOAL_RATIO for row in speed) and memory["growth"] <= GOAL_GROWTH
    if args.json:
        print(json.dumps({"speed": speed, "memory": memory, "goals_met": met}, indent=2))
    else:
        show(speed, memory, met)
    sys.exit(0 if met else 1)


def show(speed: list[dict[str, Any]], memory: dict[str, float], met: bool) -> None:
    """The figures as text."""
    print(f"{'format':20} {'candor':>14} {'python-can':>14} {'ratio':>7}   (frames per second, one core)")
    for row in speed:
        print(
            f"{row['format']:20} {row['candor_per_s']:14,.0f} {row['python_can_per_s']:14,.0f} {row['ratio']:7.1f}"
        )
    print(
        f"\npeak memory: {memory['peak_mib']:.0f} MiB, of a file ten times as long {memory['tenfold_peak_mib']:.0f} MiB"
    )
    print(f"goals (ratio >= {GOAL_RATIO:g}, growth <= {GOAL_GROWTH:g}): {'met' if met else 'missed'}")


if __name__ == "__main__":
    main()
