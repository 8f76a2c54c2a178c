"""GraphStore: window graphs as one folder of flat, memory-mapped arrays.

A batch is a gather of ranges; there is no Python object per graph. ``store[i]`` still gives a PyG ``Data``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from candor.errors import ArtifactCorrupted, ExtraMissing, SourceMissing
from candor.ids.graphs import compiled_gather
from candor.learn.reuse import Buffers

if TYPE_CHECKING:
    from torch_geometric.data import Data

# G graphs, N nodes, E edges, D node features

STORE_VERSION = 1

#: capture: index into meta.captures. start: first frame (error frames not counted). index: ordinal among the
#: capture's windows in this store. t0, t1: s since the capture's start. calibration: begins in the seconds that
#: its own stream profile was calibrated on. profile: index into meta.profiles.
WINDOW_DTYPE = np.dtype(
    [
        ("capture", "<i4"),
        ("start", "<i8"),
        ("index", "<i8"),
        ("t0", "<f8"),
        ("t1", "<f8"),
        ("calibration", "?"),
        ("profile", "u1"),
    ]
)

#: file → dtype. x and edge_attr have a second axis, edge_index a first one of 2.
ARRAYS: dict[str, np.dtype[Any]] = {
    "node_ptr": np.dtype("<i8"),
    "edge_ptr": np.dtype("<i8"),
    "node_id": np.dtype("<u4"),
    "x": np.dtype("<f4"),
    "edge_index": np.dtype("<i4"),
    "edge_attr": np.dtype("<f4"),
    "y": np.dtype("u1"),
    "attack": np.dtype("<i2"),
    "node_y": np.dtype("u1"),
    "window": WINDOW_DTYPE,
}


@dataclass(frozen=True)
class PackedBatch:
    """B graphs gathered into one, edges numbered across the batch.

    Attributes:
        x_ND: f32. node_id_N: u32 keys. edge_index_2E: i64, global in the batch. edge_attr_E11: f32.
        graph_of_node_N: i64. ptr: i64[B+1] first node of each graph. y_G: u8. attack_G: i16. node_y_N: u8.
        index_G: i64, position of each graph in the store that was asked.
    """

    x_ND: npt.NDArray[np.float32]
    node_id_N: npt.NDArray[np.uint32]
    edge_index_2E: npt.NDArray[np.int64]
    edge_attr_E11: npt.NDArray[np.float32]
    graph_of_node_N: npt.NDArray[np.int64]
    ptr: npt.NDArray[np.int64]
    y_G: npt.NDArray[np.uint8]
    attack_G: npt.NDArray[np.int16]
    node_y_N: npt.NDArray[np.uint8]
    index_G: npt.NDArray[np.int64]


class BufferSource(Protocol):
    """Gives arrays to gather into: Buffers, or a loader's."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]: ...


class GraphStore:
    """Read-only graphs of one split (see the module's ``ARRAYS`` for files and dtypes).

    Attributes:
        path: folder. meta: ``meta.json``: captures (name, vehicle, scenario, windows, ...), attacks, node_features,
            edge_features, profiles, window config.
        x_ND, node_id_N, edge_index_2E (local), edge_attr_E11, y_G, attack_G, node_y_N, window_G: the memory maps of
            the whole folder; a subset shares them and picks graphs by ``graphs``.
        graphs: i64, the graphs of the folder that this view holds, in order.
    """

    def __init__(
        self,
        path: Path,
        meta: dict[str, Any],
        arrays: dict[str, npt.NDArray[Any]],
        graphs: npt.NDArray[np.int64] | None,
    ) -> None:
        self.path, self.meta, self._arrays = path, meta, arrays
        self.node_ptr, self.edge_ptr = arrays["node_ptr"], arrays["edge_ptr"]
        self.node_id_N, self.x_ND = arrays["node_id"], arrays["x"]
        self.edge_index_2E, self.edge_attr_E11 = arrays["edge_index"], arrays["edge_attr"]
        self.node_y_N = arrays["node_y"]
        self._graphs = graphs

    @classmethod
    def open(cls, path: Path) -> GraphStore:
        """Map the folder's arrays, reading none. Raises SourceMissing, or ArtifactCorrupted if the arrays disagree."""
        try:
            meta = json.loads((path / "meta.json").read_text())
            arrays = {name: _open_array(path / f"{name}.npy") for name in ARRAYS}
        except FileNotFoundError as e:
            raise SourceMissing(
                f"no graph store here: {Path(e.filename).name} is missing",
                place=str(path),
                hint="Build it again.",
            ) from e
        nodes, edges = len(arrays["node_id"]), len(arrays["edge_attr"])
        num_graphs = len(arrays["y"])
        whole = (
            len(arrays["node_ptr"]) == num_graphs + 1 == len(arrays["edge_ptr"])
            and int(arrays["node_ptr"][-1]) == nodes == len(arrays["x"]) == len(arrays["node_y"])
            and int(arrays["edge_ptr"][-1]) == edges == arrays["edge_index"].shape[1]
            and len(arrays["window"]) == num_graphs == len(arrays["attack"])
        )
        if not whole:
            raise ArtifactCorrupted(
                "array lengths of the graph store disagree", place=str(path), hint="Build it again."
            )
        return cls(path, meta, arrays, None)

    def __len__(self) -> int:
        return len(self._arrays["y"]) if self._graphs is None else len(self._graphs)

    @property
    def graphs(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self), dtype=np.int64) if self._graphs is None else self._graphs

    @cached_property
    def node_counts(self) -> npt.NDArray[np.int64]:
        """Nodes of each graph of this view."""
        return self._pick(np.diff(self.node_ptr))

    @cached_property
    def edge_counts(self) -> npt.NDArray[np.int64]:
        """Edges of each graph of this view."""
        return self._pick(np.diff(self.edge_ptr))

    @property
    def y_G(self) -> npt.NDArray[np.uint8]:
        return self._pick(self._arrays["y"])

    @property
    def attack_G(self) -> npt.NDArray[np.int16]:
        return self._pick(self._arrays["attack"])

    @property
    def window_G(self) -> npt.NDArray[Any]:
        """Structured array, see WINDOW_DTYPE."""
        return self._pick(self._arrays["window"])

    def _pick(self, per_graph: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return per_graph if self._graphs is None else per_graph[self._graphs]

    def subset(self, idx: Sequence[int] | npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]) -> GraphStore:
        """A view of these graphs (positions or a mask), in this order; the maps are shared, nothing is copied."""
        chosen = np.asarray(idx)
        if not len(chosen):
            chosen = chosen.astype(np.int64)
        return GraphStore(self.path, self.meta, self._arrays, self.graphs[chosen])

    def gather(
        self, idx: Sequence[int] | npt.NDArray[np.integer[Any]], buffers: Buffers | None = None
    ) -> PackedBatch:
        """The graphs at ``idx`` as one batch; into ``buffers`` if given, else into arrays of its own."""
        narrow: dict[str, npt.DTypeLike] = {
            "node_id": np.uint32,
            "y": np.uint8,
            "attack": np.int16,
            "node_y": np.uint8,
        }
        return self._gather(idx, buffers or Buffers(), narrow)

    def gather_into(
        self, idx: Sequence[int] | npt.NDArray[np.integer[Any]], buffers: BufferSource
    ) -> PackedBatch:
        """As ``gather``, but node_id, y, attack and node_y as i64, which is how tensors want them."""
        wide: dict[str, npt.DTypeLike] = dict.fromkeys(("node_id", "y", "attack", "node_y"), np.int64)
        return self._gather(idx, buffers, wide)

    def _gather(
        self,
        idx: Sequence[int] | npt.NDArray[np.integer[Any]],
        into: BufferSource,
        dtype: Mapping[str, npt.DTypeLike],
    ) -> PackedBatch:
        index = np.ascontiguousarray(idx, dtype=np.int64)
        graphs, ptr = np.empty(len(index), np.int64), into.empty("ptr", (len(index) + 1,), np.int64)
        view, some = (graphs, False) if self._graphs is None else (self._graphs, True)
        nodes, edges = compiled_gather.place(index, view, some, self.node_ptr, self.edge_ptr, graphs, ptr)
        if nodes < 0:
            raise IndexError(f"graphs {index.min()} to {index.max()} of {len(self)}")
        columns, edge_columns = self.x_ND.shape[1], self.edge_attr_E11.shape[1]
        batch = PackedBatch(
            x_ND=into.empty("x", (nodes, columns), np.float32),
            node_id_N=into.empty("node_id", (nodes,), dtype["node_id"]),
            edge_index_2E=into.empty("edge_index", (2, edges), np.int64),
            edge_attr_E11=into.empty("edge_attr", (edges, edge_columns), np.float32),
            graph_of_node_N=into.empty("graph_of_node", (nodes,), np.int64),
            ptr=ptr,
            y_G=into.empty("y", (len(index),), dtype["y"]),
            attack_G=into.empty("attack", (len(index),), dtype["attack"]),
            node_y_N=into.empty("node_y", (nodes,), dtype["node_y"]),
            index_G=index,
        )
        target = compiled_gather.Target(
            *(batch.x_ND.reshape(-1), batch.node_id_N, batch.edge_index_2E, batch.edge_attr_E11.reshape(-1)),
            *(batch.node_y_N, batch.graph_of_node_N, batch.y_G, batch.attack_G),
        )
        compiled_gather.gather(graphs, ptr, columns, edge_columns, self._source, target)
        return batch

    @cached_property
    def _source(self) -> compiled_gather.Source:
        return compiled_gather.Source(
            *(self.node_ptr, self.edge_ptr, self.x_ND.reshape(-1), self.node_id_N, self.edge_index_2E),
            *(self.edge_attr_E11.reshape(-1), self.node_y_N, self._arrays["y"], self._arrays["attack"]),
        )

    def __getitem__(self, i: int) -> Data:
        """Graph ``i`` as PyG ``Data``: x, edge_index, edge_attr, y, attack, node_id, node_y. Needs the train extra."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"graph {i} of {len(self)}")
        try:
            import torch
            from torch_geometric.data import Data
        except ImportError as e:
            raise ExtraMissing("PyG is not installed", hint="Install candor[train].") from e
        b = self.gather([i % len(self)])
        return Data(
            x=torch.from_numpy(b.x_ND),
            edge_index=torch.from_numpy(b.edge_index_2E),
            edge_attr=torch.from_numpy(b.edge_attr_E11),
            y=torch.from_numpy(b.y_G.astype(np.int64)),
            attack=torch.from_numpy(b.attack_G.astype(np.int64)),
            node_id=torch.from_numpy(b.node_id_N.astype(np.int64)),
            node_y=torch.from_numpy(b.node_y_N.astype(np.int64)),
            num_nodes=len(b.x_ND),
        )


def _open_array(path: Path) -> npt.NDArray[Any]:
    try:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as e:
        if path.stat().st_size and "empty file" not in str(e):
            raise ArtifactCorrupted(
                f"not a readable array: {e}", place=str(path), hint="Build it again."
            ) from e
        raise
    # A plain ndarray over the map: np.memmap's __array_finalize__ costs more than a small gather.
    return mapped.view(np.ndarray)
