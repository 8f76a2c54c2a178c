"""Trivial detectors, scored on the same windows as every model: what a model must beat before its figure means anything.

    id_whitelist       share of the window's frames whose ID no benign training frame had
    payload_whitelist  the same for (ID, payload)
    timing             highest share, over IDs, of frames that come early against their ID's median benign interval
    volume             frames per second against benign training windows, in standard deviations either way
    position           seconds since the capture's first frame, later being worse

``position`` looks at no frame and learns nothing. Where every attack of a test lies at the end of its captures it ranks all windows
right, and so does whatever drifts with the drive.

The others learn from the frames of training windows alone, and of these from the benign ones. The whitelists know the IDs of
all training vehicles; intervals and volumes are those of the window's own vehicle where it was trained on, else of all.

Legend: n frames of one capture, G windows, W frames per window, K IDs known to the control.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from candor.errors import DataError
from candor.flow.stage import Inputs, Output, Result
from candor.ids.captures.frames import ERROR
from candor.ids.captures.row_groups import row_groups
from candor.ids.config import ControlsConfig
from candor.ids.graphs.vocabulary import id_key
from candor.ids.scoring import score_frame, window_rows

Floats = NDArray[np.float64]

NAMES = ("id_whitelist", "payload_whitelist", "timing", "volume", "position")
#: Windows × IDs of a counting table at a time: 32 MB.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Bus:
    """Frames of one capture that windows are cut from (error frames carry no ID).

    Attributes:
        key: u32[n] ID. content: u64[n] hash of ID and payload. y: bool[n].
        interval_s: f64[n] since the frame before of the same ID; infinite for the first.
    """

    key: NDArray[np.uint32]
    content: NDArray[np.uint64]
    y: NDArray[np.bool_]
    interval_s: Floats


@dataclass(frozen=True)
class Windows:
    """Windows of one capture in a GraphStore folder: ``rows`` are their positions in it."""

    capture: str
    vehicle: str
    rows: NDArray[np.int64]
    start: NDArray[np.int64]
    seconds: Floats
    y: NDArray[np.bool_]


@dataclass
class Known:
    """What benign training frames looked like. "" among the vehicles stands for all of them."""

    ids: NDArray[np.uint32]
    contents: NDArray[np.uint64]
    medians: dict[str, tuple[NDArray[np.uint32], Floats]] = field(default_factory=dict)
    volumes: dict[str, tuple[float, float]] = field(default_factory=dict)


def controls(config: ControlsConfig, inputs: Inputs, out: Output) -> Result:
    """Score validation and test windows with every control: ``scores.parquet``, variant "control", seed 0.

    Inputs: ``ingest`` (frames/), ``build_train`` (train/, val/), ``build_test`` (test/).

    Raises:
        DataError: no benign frame lies in a training window.
    """
    frames = inputs.path("ingest") / "frames"
    train, test = inputs.path("build_train"), inputs.path("build_test")
    known = fit(train / "train", frames)
    tables = []
    for done, (split, folder) in enumerate({"val": train / "val", "test": test / "test"}.items()):
        out.progress(done, 2, f"controls on {split} windows")
        rows = window_rows(folder, split)
        scores = score(folder, frames, known, config) | {"position": rows["t0"].to_numpy()}
        tables += [score_frame(rows, scores[name], detector=name, variant="control") for name in NAMES]
    whole = pl.concat(tables)
    whole.write_parquet(out.path / "scores.parquet", compression="zstd")
    return Result(
        {"controls": list(NAMES), "known_ids": len(known.ids), "known_payloads": len(known.contents)}
    )


def fit(folder: Path, frames: Path) -> Known:
    """Learn from the benign frames of the training windows in ``folder`` (its ``train`` store)."""
    width = _window_frames(folder)
    ids: list[NDArray[np.uint32]] = []
    contents: list[NDArray[np.uint64]] = []
    pairs: dict[str, list[tuple[NDArray[np.uint32], Floats]]] = {"": []}
    rates: dict[str, list[Floats]] = {"": []}
    for part in _captures(folder):
        bus = read_bus(frames / f"{part.capture}.parquet")
        benign = _covered(part.start, width, len(bus.key)) & ~bus.y
        ids.append(np.unique(bus.key[benign]))
        contents.append(np.unique(bus.content[benign]))
        timed = benign & np.isfinite(bus.interval_s)
        volume = width / part.seconds[~part.y]
        pair = bus.key[timed], bus.interval_s[timed]
        for name in {"", part.vehicle}:
            pairs.setdefault(name, []).append(pair)
            rates.setdefault(name, []).append(volume)
    known = Known(_union(ids, np.uint32), _union(contents, np.uint64))
    if not len(known.ids):
        raise DataError(
            "no benign frame in any training window: controls have nothing to learn from",
            place=str(folder.name),
            hint="Add an attack-free training capture, or use shorter windows.",
        )
    known.medians = {name: _medians(parts) for name, parts in pairs.items()}
    for name, found in rates.items():
        volumes = np.concatenate(found)
        if len(volumes):
            known.volumes[name] = (float(volumes.mean()), float(volumes.std()))
    return known


def score(folder: Path, frames: Path, known: Known, config: ControlsConfig) -> dict[str, Floats]:
    """Scores of every control that looks at frames for the G windows of a GraphStore folder, in its order: [G] each."""
    width = _window_frames(folder)
    out = {name: np.zeros(len(np.load(folder / "y.npy"))) for name in NAMES if name != "position"}
    for part in _captures(folder):
        bus = read_bus(frames / f"{part.capture}.parquet")
        for name, seen, learned in (
            ("id_whitelist", bus.key, known.ids),
            ("payload_whitelist", bus.content, known.contents),
        ):
            out[name][part.rows] = _window_sums(~_among(seen, learned), part.start, width) / width
        out["timing"][part.rows] = early_share(bus, part, known, width, config.early_share)
        mean, sd = known.volumes.get(part.vehicle, known.volumes.get("", (0.0, 0.0)))
        # A replayed log can have one constant rate; its standard deviation must not divide by nothing.
        out["volume"][part.rows] = np.abs(width / part.seconds - mean) / max(sd, 1e-6 * mean, 1e-9)
    return out


def early_share(bus: Bus, part: Windows, known: Known, width: int, early: float) -> Floats:
    """Highest share over known IDs of early frames among the ID's frames, plus one, in each window: [G].

    The added frame keeps a single early frame of a rare ID (1 of 1) below a train of forged ones (9 of 10).
    """
    keys_K, medians_K = known.medians.get(part.vehicle, known.medians[""])
    if not len(keys_K) or not len(part.start):
        return np.zeros(len(part.start))
    place = np.minimum(np.searchsorted(keys_K, bus.key), len(keys_K) - 1)
    familiar = keys_K[place] == bus.key
    is_early = familiar & (bus.interval_s < early * medians_K[place])
    code = np.where(familiar, place, len(keys_K))  # The last column takes unknown IDs, and is never early.
    columns = len(keys_K) + 1
    step = max(1, _CHUNK // max(columns, width))
    parts = []
    for first in range(0, len(part.start), step):
        frames_GW = part.start[first : first + step, None] + np.arange(width)
        cell = (np.arange(len(frames_GW))[:, None] * columns + code[frames_GW]).ravel()
        shape = (len(frames_GW), columns)
        count = np.bincount(cell, minlength=shape[0] * columns).reshape(shape)
        hits = np.bincount(cell, is_early[frames_GW].ravel(), shape[0] * columns).reshape(shape)
        parts.append((hits / (count + 1)).max(axis=1))
    return np.concatenate(parts)


def read_bus(path: Path) -> Bus:
    """Frames of one capture as the controls see them."""
    keys, times, contents, labels = [], [], [], []
    # Payloads take most of a table's memory, and their hashes are all that is wanted.
    for part in row_groups(path, "frames", ["timestamp", "id", "data", "label", "flags"]):
        df = part.filter((pl.col("flags") & ERROR) == 0)
        keys.append(id_key(df["id"].to_numpy(), df["flags"].to_numpy()))
        times.append(df["timestamp"].to_numpy())
        contents.append(pl.DataFrame({"key": keys[-1], "data": df["data"]}).hash_rows(seed=0).to_numpy())
        labels.append(df["label"].fill_null(0).to_numpy().astype(bool))
    key, t = _joined(keys, np.uint32), _joined(times, np.float64)
    order = np.argsort(key, kind="stable")
    interval = np.full(len(t), np.inf)
    same = key[order][1:] == key[order][:-1]
    interval[order[1:][same]] = np.diff(t[order])[same]
    return Bus(key, _joined(contents, np.uint64), _joined(labels, np.bool_), interval)


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([*parts, np.zeros(0, dtype)])


def _window_frames(folder: Path) -> int:
    return int(json.loads((folder / "meta.json").read_text())["window"]["window_frames"])


def _captures(folder: Path) -> Iterator[Windows]:
    """The windows of a store by capture; a window stored once for each of several profiles counts once per row."""
    captures: list[dict[str, Any]] = json.loads((folder / "meta.json").read_text())["captures"]
    window, y = np.load(folder / "window.npy"), np.load(folder / "y.npy").astype(bool)
    for number, meta in enumerate(captures):
        rows = np.flatnonzero(window["capture"] == number)
        if len(rows):
            mine = window[rows]
            # Frames of one burst can share a timestamp.
            seconds = np.maximum(mine["t1"] - mine["t0"], 1e-6)
            yield Windows(meta["capture"], meta["vehicle"], rows, mine["start"], seconds, y[rows])


def _covered(start: NDArray[np.int64], width: int, frames: int) -> NDArray[np.bool_]:
    """Frames that lie in at least one window: [n]."""
    edges = np.zeros(frames + 1, np.int64)
    np.add.at(edges, start, 1)
    np.add.at(edges, start + width, -1)
    return np.cumsum(edges[:-1]) > 0


def _window_sums(flag: NDArray[np.bool_], start: NDArray[np.int64], width: int) -> Floats:
    """Number of flagged frames in each window: [G]."""
    total = np.concatenate([[0], np.cumsum(flag)])
    return np.asarray(total[start + width] - total[start], np.float64)


def _among(values: NDArray[Any], learned: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values were learned; ``learned`` is sorted."""
    if not len(learned):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(learned, values), len(learned) - 1)
    return np.asarray(learned[place] == values)


def _union(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype)


def _medians(parts: list[tuple[NDArray[np.uint32], Floats]]) -> tuple[NDArray[np.uint32], Floats]:
    """Median interval of every ID, IDs ascending."""
    table = pl.DataFrame(
        {"key": np.concatenate([k for k, _ in parts]), "s": np.concatenate([s for _, s in parts])}
    )
    found = table.group_by("key").agg(pl.col("s").median()).sort("key")
    return found["key"].to_numpy(), found["s"].to_numpy()
