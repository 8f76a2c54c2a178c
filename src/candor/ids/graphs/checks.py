"""The measurements behind the audit's findings; each returns plain numbers and names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from candor.ids.captures.frames import Frames, bus_frames
from candor.ids.graphs.contents import U64, all_window_hashes, capture_digest, contained, window_hashes
from candor.ids.graphs.features import EDGE_FEATURES, Feature
from candor.ids.graphs.scaler import Moments, Scaler
from candor.ids.graphs.store import GraphStore
from candor.ids.graphs.vocabulary import Vocabulary, id_key

_BLOCK_GRAPHS = 8192


def content_digests(hashes: dict[str, U64]) -> dict[str, str]:
    """Digest of the IDs and payloads of each capture."""
    return {capture: capture_digest(h) for capture, h in hashes.items()}


def closest_ranges(train: GraphStore, val: GraphStore, window_frames: int) -> dict[str, int]:
    """Smallest gap in frames between a training and a validation window of each capture; negative if they overlap."""
    starts_of = {c["capture"]: _starts(train, i) for i, c in enumerate(train.meta["captures"])}
    gaps: dict[str, int] = {}
    for i, capture in enumerate(val.meta["captures"]):
        ours, theirs = starts_of.get(capture["capture"]), _starts(val, i)
        if ours is None or not len(ours) or not len(theirs):
            continue
        after = np.searchsorted(ours, theirs)
        next_start = ours[np.minimum(after, len(ours) - 1)]
        previous_start = ours[np.maximum(after - 1, 0)]
        distance = np.minimum(np.abs(next_start - theirs), np.abs(theirs - previous_start))
        gaps[capture["capture"]] = int(distance.min()) - window_frames
    return gaps


def _starts(store: GraphStore, capture: int) -> npt.NDArray[np.int64]:
    window = store.window_G
    return np.unique(window["start"][window["capture"] == capture])


def twin_windows(
    train: GraphStore, other: GraphStore, hashes: dict[str, U64], window_frames: int
) -> dict[str, int]:
    """Windows of ``other``, per capture, whose IDs and payloads occur in the frames of some training window.

    Training frames are looked at at every offset inside a run of overlapping or touching training windows, so a copy
    is found wherever its windows begin.
    """
    parts = [
        all_window_hashes(hashes[capture["capture"]][start:stop], window_frames)
        for i, capture in enumerate(train.meta["captures"])
        for start, stop in _runs(_starts(train, i), window_frames)
    ]
    known = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
    twins: dict[str, int] = {}
    for i, capture in enumerate(other.meta["captures"]):
        own = window_hashes(hashes[capture["capture"]], _starts(other, i), window_frames)
        twins[capture["capture"]] = int(contained(own, known).sum())
    return twins


def _runs(starts: npt.NDArray[np.int64], window_frames: int) -> list[tuple[int, int]]:
    """Frame ranges covered without a gap by windows beginning at ``starts`` (ascending)."""
    if not len(starts):
        return []
    breaks = np.flatnonzero(np.diff(starts) > window_frames) + 1
    return [(int(run[0]), int(run[-1]) + window_frames) for run in np.split(starts, breaks)]


def scaler_differences(path: Path, train: GraphStore, node_features: Sequence[Feature]) -> list[str]:
    """Columns whose saved mean or std is not that of the benign windows of ``train``."""
    saved = json.loads(path.read_text())
    nodes, edges = Moments(len(node_features)), Moments(len(EDGE_FEATURES))
    for start in range(0, len(train), _BLOCK_GRAPHS):
        stop = min(start + _BLOCK_GRAPHS, len(train))
        benign = train.y_G[start:stop] == 0
        rows = slice(int(train.node_ptr[start]), int(train.node_ptr[stop]))
        nodes.add(train.x_ND[rows][np.repeat(benign, np.diff(train.node_ptr[start : stop + 1]))])
        rows = slice(int(train.edge_ptr[start]), int(train.edge_ptr[stop]))
        edges.add(train.edge_attr_E11[rows][np.repeat(benign, np.diff(train.edge_ptr[start : stop + 1]))])
    wrong = []
    for part, moments, features in (("x", nodes, node_features), ("edge_attr", edges, EDGE_FEATURES)):
        ours, theirs = moments.scaler(features), Scaler.from_json(saved[part])
        same = np.isclose(ours.mean, theirs.mean, rtol=1e-6, atol=1e-9)
        same &= np.isclose(ours.std, theirs.std, rtol=1e-6, atol=1e-9)
        wrong += [f"{part}.{f.name}" for f, ok in zip(features, same, strict=True) if not ok]
    return wrong


def vocabulary_differences(path: Path, train: GraphStore) -> tuple[list[int], list[int]]:
    """Saved IDs that no benign node of a training window has, and the reverse."""
    saved = Vocabulary.from_json(json.loads(path.read_text())).ids
    ours = Vocabulary.fit(train.node_id_N, train.node_y_N).ids
    return np.setdiff1d(saved, ours).tolist(), np.setdiff1d(ours, saved).tolist()


def benign_on_unknown_ids(
    ingest: Path, catalog: pl.DataFrame, events: pl.DataFrame
) -> dict[str, dict[str, Any]]:
    """Captures with benign-labelled frames on IDs that their vehicle never sends when nobody attacks.

    Unattacked means the vehicle's attack-free captures; a vehicle without one: its captures before their first event.
    """
    found: dict[str, dict[str, Any]] = {}
    for (vehicle,), group in catalog.group_by("vehicle", maintain_order=True):
        free = group.filter(pl.col("attack") == "")["capture"].to_list()
        known = np.unique(
            np.concatenate([_quiet_ids(ingest, c, events) for c in free or group["capture"].to_list()])
        )
        for capture in group.filter(pl.col("attack") != "")["capture"]:
            frames = Frames.arrays(ingest / "frames" / f"{capture}.parquet")
            rows = bus_frames(frames)
            rows = rows[frames.y[rows] == 0]
            key = id_key(frames.id[rows], frames.flags[rows])
            strange = key[~np.isin(key, known)]
            if len(strange):
                ids = [f"{i:X}" for i in np.unique(strange)[:20].tolist()]
                share = len(strange) / len(key)
                found[capture] = {"vehicle": vehicle, "frames": len(strange), "share": share, "ids": ids}
    return found


def _quiet_ids(ingest: Path, capture: str, events: pl.DataFrame) -> npt.NDArray[np.uint32]:
    frames = Frames.arrays(ingest / "frames" / f"{capture}.parquet")
    rows = bus_frames(frames)
    first = events.filter(pl.col("capture") == capture)["t_start"].min()
    if isinstance(first, float):
        rows = rows[frames.t[rows] < first]
    return np.unique(id_key(frames.id[rows], frames.flags[rows]))


def windows_per_family(store: GraphStore) -> dict[str, int]:
    """Attack windows of each family of the store."""
    return {name: int((store.attack_G == code).sum()) for code, name in enumerate(store.meta["attacks"])}
