"""Timing and results: both ways by turns, medians, and what bounds the faster one."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Measurement:
    """One row of the results.

    Attributes:
        name: of the figure. ratio: what was reached, goal: what was asked for; ``ratio >= goal`` is met.
        unit: of both. bound: the resource that limits the faster way. figures: absolute numbers behind the ratio.
    """

    name: str
    ratio: float
    goal: float
    unit: str
    bound: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal


def seconds(
    ways: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each way, run by turns so that a busy neighbour slows all of them; one run each to warm up."""
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            begin = clock()
            way()
            if turn:
                runs[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in runs.items()}


def save(measurements: list[Measurement]) -> None:
    """Put the rows into results.json (others stay) and write RESULTS.md from all of it."""
    held = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for m in measurements:
        row = {k: v for k, v in asdict(m).items() if k != "name"}
        held[m.name] = row | {"ratio": round(m.ratio, 3), "met": m.met, "machine": machine()}
        print(
            f"{m.name}: {m.ratio:.2f} {m.unit} (goal {m.goal:g}, {'met' if m.met else 'NOT met'}) {m.figures}"
        )
    RESULTS.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")
    RESULTS.with_name("RESULTS.md").write_text(markdown(held))


def machine() -> str:
    """Processor, how many of them this process may use, and how busy they were."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    return f"{model}, {len(os.sched_getaffinity(0))} processors, load {load:.1f}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def markdown(held: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as a page; a file that is read back has its names in order, so all of them are put in order."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Both ways run by turns in one process; medians of several runs, synthetic traffic. For the rows called overhead, `reached` is the goal over what was measured.",
        "",
        "| name | reached | goal | unit | met | bound by |",
        "|---|--:|--:|---|---|---|",
    ]
    lines += [
        f"| {name} | {row['ratio']:.2f} | {row['goal']:g} | {row['unit']} | {'yes' if row['met'] else 'no'} | {row['bound']} |"
        for name, row in sorted(held.items())
    ]
    lines += ["", "## Figures", ""]
    for name, row in sorted(held.items()):
        figures = ", ".join(f"{k} {v}" for k, v in sorted(row["figures"].items()))
        lines.append(f"- **{name}**: {figures} ({row['machine']})")
    return "\n".join(lines) + "\n"
