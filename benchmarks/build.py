"""Frames → packed graphs with the full feature set: compiled, against NumPy window by window."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from benchmarks import naive, traffic
from benchmarks.timing import Measurement, save, seconds
from candor.ids.captures.frame_file import FrameArray
from candor.ids.graphs.blocks import build_blocks
from candor.ids.graphs.packed import PackedGraphs

FRAMES, NAIVE_FRAMES, WIDTH = 2_000_000, 60_000, 100
#: For two threads: half an hour of driving, a third of a second's work for one. In less, where the system puts the second
#: thread in its first milliseconds is a tenth of the time.
LONG_FRAMES = 4_000_000


def compiled(num_frames: int, threads: int) -> list[PackedGraphs]:
    return [g for _, g in _blocks(num_frames, threads)]


def consume(num_frames: int, threads: int) -> int:
    """As a writer would: each block is let go before the next."""
    return sum(len(g) for _, g in _blocks(num_frames, threads))


def two_captures(num_frames: int) -> None:
    """Two captures of half the length, a thread each: what the build stage does where there are captures enough."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(consume, num_frames // 2, 1) for _ in range(2)]:
            done.result()


@njit(nogil=True)
def _spin(steps: int, x: int) -> int:
    for _ in range(steps):
        x = (x * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFF
    return x


def _spin_in_threads(number: int) -> None:
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(_spin, 100_000_000, k) for k in range(number)]:
            done.result()


def _blocks(num_frames: int, threads: int) -> Iterator[tuple[int, PackedGraphs]]:
    begin = traffic.starts(num_frames, WIDTH)
    frames = FrameArray(traffic.capture(num_frames))
    return build_blocks(frames, traffic.profile(), (begin, begin + WIDTH), threads=threads)


def check() -> None:
    """Integers equal and features within 1e-6 of the baseline, on the benchmark's own traffic."""
    ours = compiled(NAIVE_FRAMES, 1)
    theirs = naive.per_window(
        traffic.capture(NAIVE_FRAMES), traffic.profile(), traffic.starts(NAIVE_FRAMES, WIDTH), WIDTH
    )
    for name in (
        "node_counts_G",
        "edge_counts_G",
        "node_id_N",
        "y_G",
        "attack_G",
        "node_y_N",
        "edge_index_2E",
    ):
        axis = 1 if name == "edge_index_2E" else 0
        a, b = (np.concatenate([getattr(g, name) for g in graphs], axis=axis) for graphs in (ours, theirs))
        np.testing.assert_array_equal(a, b)
    for name in ("x_ND", "edge_attr_E11"):
        a, b = (np.concatenate([getattr(g, name) for g in graphs]) for graphs in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def run() -> list[Measurement]:
    check()
    frames, profile = traffic.capture(NAIVE_FRAMES), traffic.profile()
    begin = traffic.starts(NAIVE_FRAMES, WIDTH)
    # Processor time where one thread works: a busy neighbour slows the way that needs memory more than the other.
    # Seen on two shared cores, by the wall: 24, 30 and 42 times in three runs.
    took = seconds(
        {
            "one": lambda: consume(FRAMES, 1),
            "naive": lambda: naive.per_window(frames, profile, begin, WIDTH),
            "dicts": lambda: naive.with_dicts(frames.t, frames.id, frames.data, frames.y, WIDTH),
        },
        clock=time.process_time,
    )
    wall = seconds(
        {
            "one": lambda: consume(LONG_FRAMES, 1),
            "two": lambda: consume(LONG_FRAMES, 2),
            "captures": lambda: two_captures(LONG_FRAMES),
            # What two threads are worth on this machine at this time: registers alone, half a second.
            "loop": lambda: _spin_in_threads(1),
            "loops": lambda: _spin_in_threads(2),
        },
        repeats=21,
    )
    one, slow, dicts = FRAMES / took["one"], NAIVE_FRAMES / took["naive"], NAIVE_FRAMES / took["dicts"]
    figures = {
        "M frames/s of processor time, one thread": round(one / 1e6, 2),
        "per-window NumPy": round(slow / 1e6, 3),
        "dicts and loops (fewer features)": round(dicts / 1e6, 3),
    }
    two = {
        "M frames/s, two threads": round(LONG_FRAMES / wall["captures"] / 1e6, 2),
        # Of one capture, blocks of its windows: threads wait for each other's Python between compiled calls, and read
        # what another core has numbered.
        "two threads over blocks of one capture": f"× {wall['one'] / wall['two']:.2f}",
        "two loops without memory": f"× {2 * wall['loop'] / wall['loops']:.2f}",
        "processors": len(os.sched_getaffinity(0)),
    }
    return [
        Measurement(
            "build_one_thread",
            one / slow,
            40,
            "× per-window NumPy",
            "arithmetic of one core",
            figures,
        ),
        # As the stage does where there are captures enough: one each.
        Measurement(
            "build_two_threads",
            wall["one"] / wall["captures"],
            1.8,
            "× one thread",
            "cores, memory bandwidth",
            two,
        ),
    ]


if __name__ == "__main__":
    save(run())
