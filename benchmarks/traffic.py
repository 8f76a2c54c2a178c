"""Synthetic traffic for the benchmarks: a benign drive and three attacks, repeated to the length wanted."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from candor.ids.captures import frames as fr
from candor.ids.captures.frame_file import FrameArray
from candor.ids.captures.frames import FrameArrays
from candor.ids.captures.synthetic import generate as g
from candor.ids.captures.synthetic.vehicle import fleet
from candor.ids.config import SyntheticConfig
from candor.ids.graphs.blocks import build_blocks
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.profile import Profile
from candor.ids.graphs.store import GraphStore
from candor.ids.graphs.stream import prepare
from candor.ids.graphs.writer import StoreWriter

ATTACKS = ("", "flooding", "fuzzing", "spoofing_gear")
_CONFIG = SyntheticConfig(benign_s=60, attack_s=60)


@cache
def tables() -> list[pl.DataFrame]:
    """Frame tables of one car, one for each of ATTACKS."""
    car = fleet(_CONFIG.vehicles, _CONFIG.ids_per_vehicle, g._rng(_CONFIG, 0))[0]
    return [
        g.record(_CONFIG, car, g.Shot(0, attack, "train", ""), i).table for i, attack in enumerate(ATTACKS)
    ]


@cache
def capture(num_frames: int) -> FrameArrays:
    """One long capture: the four drives one after the other, again and again."""
    parts = [fr.to_arrays(table) for table in tables()]
    names = sorted({name for p in parts for name in p.attack_names})
    pieces: dict[str, list[np.ndarray]] = {}
    total, clock = 0, 0.0
    while total < num_frames:
        p = parts[len(pieces.get("t", [])) % len(parts)]
        codes = np.array([names.index(name) for name in p.attack_names] + [-1], np.int16)
        shifted = {"t": p.t + clock, "attack_code": codes[p.attack_code]}
        for name in ("t", "id", "data", "dlc", "y", "attack_code", "flags"):
            pieces.setdefault(name, []).append(shifted.get(name, getattr(p, name)))
        clock += float(p.t[-1]) + 1e-3
        total += len(p)
    joined = {name: np.concatenate(values)[:num_frames] for name, values in pieces.items()}
    return FrameArrays(**joined, attack_names=names)


@cache
def profile() -> Profile:
    """The car's benign profile."""
    stream = prepare(fr.to_arrays(tables()[0]))
    return measure([stream], kind="attack_free", vehicle="car_a", source=["benchmark"])


def starts(num_frames: int, window_frames: int = 100, stride_frames: int = 100) -> np.ndarray:
    """First frames of all windows of a capture."""
    return np.arange(0, num_frames - window_frames + 1, stride_frames)


def store(folder: Path, num_frames: int, window_frames: int = 100, stride_frames: int = 100) -> GraphStore:
    """The capture's graphs as a store on disk."""
    frames = FrameArray(capture(num_frames))
    begin = starts(num_frames, window_frames, stride_frames)
    with StoreWriter(folder) as writer:
        writer.meta |= {"captures": [{"capture": "benchmark"}], "attacks": list(frames.attack_names)}
        for first, graphs in build_blocks(frames, profile(), (begin, begin + window_frames)):
            writer.append(
                graphs,
                capture=0,
                first_index=first,
                calibration_end_s=0.0,
                profile=0,
                attack_codes=list(range(len(frames.attack_names))),
            )
    return GraphStore.open(folder)
