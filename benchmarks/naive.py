"""The usual way: pandas, and one window after the other.

``per_window`` is the strict baseline: everything inside a window is vectorised NumPy, and what belongs to a frame is
computed for the whole capture beforehand. ``with_dicts`` is what most published code does: a dict of nodes, a loop over
edges, ``np.unique``; it makes the edge features and only the simplest node features.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from candor.ids.captures.frames import FrameArrays
from candor.ids.graphs import kernels_reference, stream_reference
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.profile import Profile


def per_window(frames: FrameArrays, profile: Profile, starts: np.ndarray, width: int) -> list[PackedGraphs]:
    """Graphs with the full feature set, one window at a time."""
    stream = stream_reference.prepare(frames)
    relative = stream_reference.relate(stream, profile)
    begin = np.zeros(1, np.int64)
    return [
        kernels_reference.build_windows(
            cut(stream, start, width), cut(relative, start, width), begin, window_frames=width
        )
        for start in starts.tolist()
    ]


def cut(columns: Any, start: int, width: int) -> Any:
    """The columns of one window: per-frame columns are views."""
    assert isinstance(columns, stream_reference.StreamColumns | stream_reference.RelativeColumns)
    per_frame = [f.name for f in fields(columns) if f.name.endswith(("_n", "_n8"))]
    return replace(columns, **{name: getattr(columns, name)[start : start + width] for name in per_frame})


def with_dicts(
    t: np.ndarray, ids: np.ndarray, data: np.ndarray, label: np.ndarray, width: int
) -> list[tuple]:
    """(x, edge_index, edge_attr, y) of every window: dict, loop, np.unique."""
    graphs = []
    for start in range(0, len(t) - width + 1, width):
        block = slice(start, start + width)
        own_t, own = t[block], ids[block]
        index = {identifier: i for i, identifier in enumerate(dict.fromkeys(own.tolist()))}
        node = np.array([index[i] for i in own.tolist()])
        pairs, inverse, count = np.unique(
            np.stack([node[:-1], node[1:]]), axis=1, return_inverse=True, return_counts=True
        )
        degree = np.bincount(node[:-1], minlength=len(index)) + np.bincount(node[1:], minlength=len(index))
        present = set(map(tuple, pairs.T.tolist()))
        edges = []
        for e, (source, target) in enumerate(pairs.T.tolist()):
            hits = np.flatnonzero(inverse == e)
            gaps = np.diff(own_t[hits + 1])
            mean, std = (gaps.mean(), gaps.std()) if len(gaps) else (0.0, 0.0)
            first, last = hits[0] / (width - 2), hits[-1] / (width - 2)
            ends = (degree[source] * degree[target], degree[source] / degree[target])
            times = (count[e], count[e] / (width - 1), mean, std, 1 / (1 + 1e3 * std))
            edges.append((*times, first, last, last - first, (target, source) in present, *ends))
        nodes = []
        for k in range(len(index)):
            mine = node == k
            gaps = np.diff(own_t[mine])
            nodes.append(
                [mine.mean(), gaps.mean() if len(gaps) else 0.0, *(data[block][mine].mean(axis=0) / 255)]
            )
        graphs.append(
            (np.array(nodes, np.float32), pairs, np.array(edges, np.float32), int(label[block].any()))
        )
    return graphs


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """can-train-and-test CSV by pandas: hexadecimal IDs and payloads row by row."""
    import pandas as pd

    table = pd.read_csv(path, dtype={"arbitration_id": str, "data_field": str})
    ids = table["arbitration_id"].apply(lambda text: int(text, 16)).to_numpy()
    payload = table["data_field"].fillna("").apply(lambda text: list(bytes.fromhex(text).ljust(8, b"\0")[:8]))
    data = np.array(payload.tolist(), np.uint8)
    return table["timestamp"].to_numpy(), ids, data, table["attack"].to_numpy()
