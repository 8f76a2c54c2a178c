"""Text to validated frames against python-can's readers, and the peak of memory against the size of the file.

Timed is, from opening the file to its end: candor reads, checks and validates every frame, and all frame tables are
kept in memory; python-can's reader makes a Message of every line, which is neither checked nor kept, so what keeping a
million objects would cost it is left out. Both read the same file for ``import_candump`` (CanutilsLogReader) and
``import_csv`` (CSVReader, whose own CSV it is); for the CSVs that python-can cannot read, the same frames in its own.

Processor time of one thread. The memory is that of a whole import: frames written, hashed and recorded.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.timing import Measurement, save, seconds

FRAMES: Final = 1_000_000
GOAL_RATIO: Final = 8.0
#: Of the peak of memory with ten times the file: at most a quarter more.
GOAL_FLAT: Final = 0.8
ONE_THREAD: Final = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
#: Result → (format, file python-can reads in its place, python-can's reader).
RACES: Final = {
    "import_candump": ("candump", "candump", "CanutilsLogReader"),
    "import_csv": ("python_can_csv", "python_can_csv", "CSVReader"),
    "import_csv_can_train_and_test": ("can_train_and_test", "python_can_csv", "CSVReader"),
    "import_csv_hcrl": ("hcrl_csv", "python_can_csv", "CSVReader"),
}


def write(folder: Path, frames: int) -> dict[str, Path]:
    """The same made-up traffic in each format: 60 IDs, each with a length of its own, most of them eight."""
    rng = np.random.default_rng(7)
    names = dict.fromkeys(file for race in RACES.values() for file in race[:2])
    paths = {name: folder / f"{frames}.{name}" for name in names}
    files = {name: path.open("w") for name, path in paths.items()}
    files["can_train_and_test"].write("timestamp,arbitration_id,data_field,attack\n")
    files["python_can_csv"].write("timestamp,arbitration_id,extended,remote,error,dlc,data\n")
    times = 1.6e9 + np.cumsum(rng.exponential(5e-4, frames))
    pool = rng.integers(0, 256, (4096, 8), dtype=np.uint8)
    known, sizes = rng.choice(0x7FF, 60, replace=False).tolist(), rng.choice([8] * 7 + [2, 4, 6], 60).tolist()
    lengths = dict(zip(known, sizes, strict=True))
    idents = rng.choice(known, frames)
    for time_s, ident, pick in zip(times, idents.tolist(), rng.integers(0, 4096, frames), strict=True):
        data = pool[pick].tobytes()[: lengths[ident]]
        text = data.hex().upper()
        files["candump"].write(f"({time_s:.6f}) can0 {ident:03X}#{text}\n")
        files["can_train_and_test"].write(f"{time_s:.6f},{ident:03X},{text},0\n")
        files["hcrl_csv"].write(f"{time_s:.6f},{ident:04x},{len(data)},{data.hex(',')},R\n")
        coded = base64.b64encode(data).decode()
        files["python_can_csv"].write(f"{time_s:.6f},{ident:#x},0,0,0,{len(data)},{coded}\n")
    for file in files.values():
        file.close()
    return paths


def ours(path: Path, name: str) -> int:
    """Frames of a file, all of them validated and in memory at the end."""
    from candor.ids.captures import stream
    from candor.ids.captures.formats import FORMATS

    with path.open("rb") as content:
        kept = list(stream.batches(content, FORMATS[name], str(path), max_backstep_s=1.0))
    return sum(batch.frames.height for batch in kept)


def theirs(path: Path, reader: str) -> int:
    """Messages of a file, none kept."""
    import can

    return sum(1 for _ in getattr(can, reader)(path))


def race(name: str, paths: dict[str, Path]) -> dict[str, float]:
    """ns of processor time per frame, by turns, medians."""
    kind, file, reader = RACES[name]
    count = ours(paths[kind], kind)
    assert count == theirs(paths[file], reader)
    took = seconds(
        {"candor": lambda: ours(paths[kind], kind), "python-can": lambda: theirs(paths[file], reader)},
        clock=time.process_time,
    )
    return {way: 1e9 * s / count for way, s in took.items()}


def import_peak(path: Path) -> dict[str, float]:
    """Peak of memory of this process after importing a file, and before: MiB. Only the first call in a process counts."""
    from candor.ids.captures import importing
    from candor.ids.captures.sources import RawFile

    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        small = Path(folder, "first.log")
        small.write_text("(1.5) can0 123#00\n" * 10)
        importing.import_file(RawFile(small), Path(folder), importing.ImportOptions())
        before = _peak_mib()
        importing.import_file(RawFile(path), Path(folder), importing.ImportOptions())
    return {"before": before, "peak": _peak_mib()}


def _peak_mib() -> float:
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def apart(*arguments: str) -> dict[str, float]:
    """This module in a fresh process with one thread."""
    command = [sys.executable, "-m", "benchmarks.import_throughput", *arguments]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def tenfold(path: Path) -> Path:
    """Ten times the traffic, each time later: a clock set back would send frames to quarantine."""
    large = path.with_suffix(".tenfold")
    with large.open("wb") as out:
        for part in range(10):
            out.write(path.read_bytes().replace(b"(160", b"(%d" % (160 + part)))
    return large


def run() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as folder:
        paths = write(Path(folder), FRAMES)
        listing = json.dumps({name: str(path) for name, path in paths.items()})
        raced = {name: apart("race", name, listing) for name in RACES}
        small = apart("peak", str(paths["candump"]))
        large = apart("peak", str(tenfold(paths["candump"])))
    return [*(_speed(name, took) for name, took in raced.items()), _memory(small, large)]


def _speed(name: str, took: dict[str, float]) -> Measurement:
    same = RACES[name][0] == RACES[name][1]
    figures: dict[str, Any] = {
        "ns/frame of processor time": round(took["candor"]),
        "python-can": round(took["python-can"]),
        "M frames/s": round(1e3 / took["candor"], 1),
        "both read": "the same file" if same else "the same frames, python-can in its own CSV",
    }
    ratio = took["python-can"] / took["candor"]
    return Measurement(name, ratio, GOAL_RATIO, "× python-can", "arithmetic of one core", figures)


def _memory(small: dict[str, float], large: dict[str, float]) -> Measurement:
    figures: dict[str, Any] = {
        "MiB, 1 M frames": round(small["peak"]),
        "MiB, 10 M frames": round(large["peak"]),
        "MiB, libraries alone": round(large["before"]),
    }
    ratio = small["peak"] / large["peak"]
    return Measurement("import_memory", ratio, GOAL_FLAT, "peak at 1× / at 10×", "size of a block", figures)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["race", which, listed]:
            print(json.dumps(race(which, {k: Path(v) for k, v in json.loads(listed).items()})))
        case ["peak", given]:
            print(json.dumps(import_peak(Path(given))))
        case _:
            save(run())
