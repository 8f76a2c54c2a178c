"""Captures in memory, as ingest artifacts on disk, and a bus of periodic IDs to make them from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from candor.flow.stage import Inputs, Output
from candor.ids.captures.frames import FrameArrays, content_hash

EVENTS = {"capture": pl.String, "attack": pl.String, "t_start": pl.Float64, "t_end": pl.Float64}


class SilentRecorder:
    def log(self, step: int, metrics: Mapping[str, float], *, kind: str = "epoch") -> None: ...

    def rewind(self, step: int, *, kind: str = "epoch") -> None: ...


def output(path: Path) -> Output:
    path.mkdir(parents=True, exist_ok=True)
    return Output(
        path, path.parent / f"{path.name}-scratch", SilentRecorder(), lambda done, total, note="": None
    )


def frames(
    t: list[float] | np.ndarray,
    ids: list[int] | np.ndarray,
    *,
    data: np.ndarray | None = None,
    dlc: list[int] | np.ndarray | int = 8,
    y: list[int] | np.ndarray | None = None,
    attack: str = "dos",
    flags: list[int] | np.ndarray | int = 0,
) -> FrameArrays:
    n = len(t)
    y = np.zeros(n, np.uint8) if y is None else np.asarray(y, np.uint8)
    dlc = np.broadcast_to(np.asarray(dlc, np.uint8), n).copy()
    data = np.zeros((n, 8), np.uint8) if data is None else np.asarray(data, np.uint8).copy()
    data[np.arange(8) >= np.minimum(dlc, 8)[:, None]] = 0
    return FrameArrays(
        t=np.asarray(t, float),
        id=np.asarray(ids, np.uint32),
        data=data,
        dlc=dlc,
        y=y,
        attack_code=np.where(y == 1, 0, -1).astype(np.int16),
        attack_names=[attack] if y.any() else [],
        flags=np.broadcast_to(np.asarray(flags, np.uint8), n).copy(),
    )


def bus(seconds: float, *, seed: int = 0, offset: int = 0, num_ids: int = 6) -> FrameArrays:
    """Benign traffic: ID k every 5·(k+1) ms with 2 % jitter, a counter in byte 0, noise in byte 1 of even IDs."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(num_ids):
        period = 0.005 * (k + 1)
        t = np.arange(rng.uniform(0, period), seconds, period)
        t = np.maximum(t + rng.normal(0, 0.02 * period, len(t)), 0)
        rows += [
            (ti, 0x100 + offset + k, i % 256, rng.integers(256) if k % 2 == 0 else 7)
            for i, ti in enumerate(t)
        ]
    rows.sort()
    data = np.zeros((len(rows), 8), np.uint8)
    data[:, 0], data[:, 1] = [r[2] for r in rows], [r[3] for r in rows]
    t = np.array([r[0] for r in rows])
    return frames(t - t[0], [r[1] for r in rows], data=data)


def flood(
    base: FrameArrays, start_s: float, end_s: float, *, identifier: int = 0, attack: str = "dos"
) -> FrameArrays:
    """``base`` with ``identifier`` injected every ms of [start_s, end_s)."""
    t = np.arange(start_s, end_s, 0.001)
    order = np.argsort(np.concatenate([base.t, t]), kind="stable")
    n = len(base.t)

    def merged(own: np.ndarray, injected: np.ndarray) -> np.ndarray:
        return np.concatenate([own, injected])[order]

    return frames(
        merged(base.t, t),
        merged(base.id, np.full(len(t), identifier)),
        data=merged(base.data, np.zeros((len(t), 8), np.uint8)),
        y=merged(np.zeros(n, np.uint8), np.ones(len(t), np.uint8)),
        attack=attack,
    )


def table(f: FrameArrays) -> pl.DataFrame:
    """The frame table (FRAME_SCHEMA) of the arrays; payloads of CAN FD frames are padded with zeros."""
    names = [*f.attack_names, ""]
    payload = [
        b"" if fl & 2 else bytes(d[: min(k, 8)]) + b"\0" * max(int(k) - 8, 0)
        for d, k, fl in zip(f.data, f.dlc, f.flags, strict=True)
    ]
    return pl.DataFrame(
        {
            "timestamp": f.t + 1000.0,
            "id": f.id,
            "data": pl.Series(payload, dtype=pl.Binary),
            "dlc": f.dlc,
            "label": f.y,
            "attack": [names[c] for c in f.attack_code],
            "flags": f.flags,
            "channel": [""] * len(f.t),
        },
        schema_overrides={"channel": pl.String, "attack": pl.String},
    )


@dataclass
class Case:
    """One capture of a made-up data set."""

    name: str
    frames: FrameArrays
    split: str = "train"
    vehicle: str = "one"
    attack: str = ""
    base: str = ""
    events: list[tuple[str, float, float]] = field(default_factory=list)
    labelled: bool = True
    format: str = "can_train_and_test"
    #: s; the times of FrameArrays start at zero.
    recorded_at: float = 0.0


def ingest_folder(folder: Path, cases: list[Case]) -> Path:
    """What ingest would have published for these captures."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    rows, events = [], []
    for c in cases:
        df = table(c.frames).with_columns(pl.col("timestamp") + c.recorded_at)
        df.write_parquet(folder / "frames" / f"{c.name}.parquet")
        hits = c.frames.t[c.frames.y == 1]
        own = c.events or ([(c.attack, float(hits[0]), float(hits[-1]))] if len(hits) else [])
        events += [(c.name, *e) for e in own]
        rows.append(
            {
                "dataset": "case",
                "capture": c.name,
                "split": c.split,
                "scenario": "" if c.split == "train" else "known",
                "vehicle": c.vehicle,
                "base_capture": c.base or c.name,
                "attack": c.attack,
                "rows": len(df),
                "attack_frames": int(c.frames.y.sum()),
                "labelled": c.labelled,
                "format": c.format,
                "time_reversals": int((df["timestamp"].diff() < 0).sum()),
                "frames_sha256": content_hash(df),
            }
        )
    pl.DataFrame(rows).write_parquet(folder / "catalog.parquet")
    pl.DataFrame(events, schema=EVENTS, orient="row").write_parquet(folder / "events.parquet")
    return folder


def inputs(**paths: Path) -> Inputs:
    return Inputs(paths)


def findings(folder: Path) -> dict[str, dict[str, object]]:
    return {f["id"]: f for f in json.loads((folder / "findings.json").read_text())["findings"]}
