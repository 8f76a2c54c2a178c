"""Windows as rows of numbers: what a detector that knows no graphs is given of the same windows.

On a bus: mean, maximum, minimum and standard deviation over a window's IDs of every feature relative to the vehicle's
profile (the others describe one vehicle, and a tree would learn that vehicle by heart), and the window's own. On flows: the
same of every feature of hosts and of edges.

Legend: G windows, N nodes, E edges, D columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.ids.graphs.features import NODE_FEATURES, NODE_NAMES

F32 = npt.NDArray[np.float32]

_VIEWS = ("mean", "max", "min", "std")
#: Windows whose rows are unfolded at a time.
_CHUNK = 8192


def is_bus(folder: Path) -> bool:
    """Whether the store's nodes are arbitration IDs."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return bool(meta.get("domain", "can") == "can")


def window_statistics(folder: Path) -> tuple[F32, list[str]]:
    """The windows of a GraphStore folder, in its order, and the names of the columns: [G, columns]."""
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    names: list[str] = meta["node_features"]
    x_ND = np.load(folder / "x.npy", mmap_mode="r")
    ptr = np.load(folder / "node_ptr.npy")
    if names == list(NODE_NAMES):
        whole = [i for i, f in enumerate(NODE_FEATURES) if f.scope == "window" and f.view == "agnostic"]
        own = [i for i, f in enumerate(NODE_FEATURES) if f.scope == "node" and f.view == "agnostic"]
        parts = [_summed(x_ND, ptr, own), x_ND[ptr[:-1]][:, whole]]
        heads = [f"{names[i]}_{v}" for v in _VIEWS for i in own] + [names[i] for i in whole]
    else:
        edge_ND, edge_ptr = np.load(folder / "edge_attr.npy", mmap_mode="r"), np.load(folder / "edge_ptr.npy")
        every, edges = list(range(len(names))), list(range(edge_ND.shape[1]))
        parts = [_summed(x_ND, ptr, every), _summed(edge_ND, edge_ptr, edges)]
        heads = [f"{names[i]}_{v}" for v in _VIEWS for i in every]
        heads += [f"edge_{meta['edge_features'][i]}_{v}" for v in _VIEWS for i in edges]
    return np.concatenate(parts, axis=1).astype(np.float32), heads


def _summed(x_ND: npt.NDArray[Any], ptr: npt.NDArray[np.int64], columns: list[int]) -> F32:
    """Mean, maximum, minimum, standard deviation of the columns over each window's rows: [G, 4 · columns].

    A window without rows (no edge) gets zeros.
    """
    num = len(ptr) - 1
    out = np.zeros((num, 4 * len(columns)), np.float32)
    for first in range(0, num, _CHUNK):
        stop = min(first + _CHUNK, num)
        rows = np.asarray(x_ND[ptr[first] : ptr[stop]], np.float64)[:, columns]
        size = np.diff(ptr[first : stop + 1])
        some = size > 0
        if not some.any():
            continue
        begin, count = (ptr[first:stop] - ptr[first])[some], size[some, None]
        mean = np.add.reduceat(rows, begin, axis=0) / count
        square = np.add.reduceat(rows * rows, begin, axis=0) / count
        out[first:stop][some] = np.concatenate(
            [
                mean,
                np.maximum.reduceat(rows, begin, axis=0),
                np.minimum.reduceat(rows, begin, axis=0),
                np.sqrt(np.maximum(square - mean * mean, 0)),
            ],
            axis=1,
        )
    return out
