"""Writing a GraphStore in bounded memory: arrays grow on disk block by block, headers are completed at the end."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from candor.errors import ArtifactCorrupted, SchemaMismatch, StorageFull
from candor.ids.graphs.features import EDGE_NAMES, NODE_NAMES
from candor.ids.graphs.kernels import PackedGraphs
from candor.ids.graphs.store import ARRAYS, STORE_VERSION, WINDOW_DTYPE, GraphStore

#: What a store says of itself alone, in meta.json.
_OWN_META = ("version", "graphs", "nodes", "edges", "captures", "attacks")
#: Room for the npy header, whose length depends on the shape that is known only at the end.
HEADER_BYTES = 512
_COPY_BYTES, _COPY_GRAPHS = 1 << 22, 1 << 15
#: What file systems and older kernels say that do not copy between these two files.
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A version 1.0 npy header of exactly ``HEADER_BYTES``."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    text = buffer.getvalue()[10:].rstrip()
    padded = text + b" " * (HEADER_BYTES - 10 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


class _Growing:
    """One npy file that grows along its first axis."""

    def __init__(self, path: Path, dtype: np.dtype[Any], row: tuple[int, ...] = ()) -> None:
        self.path, self.dtype, self.row, self.rows = path, dtype, row, 0
        # Without a buffer: what is written are blocks of an array, and pieces of files that the system copies.
        self._file = path.open("wb", buffering=0)
        self._write(npy_header(dtype, (0, *row)))

    def append(self, values: npt.NDArray[Any]) -> None:
        block = np.ascontiguousarray(values, dtype=self.dtype)
        if block.shape[1:] != self.row:
            raise SchemaMismatch(
                f"rows of shape {block.shape[1:]}, expected {self.row}", place=self.path.name
            )
        self._write(block.reshape(-1).view(np.uint8).data)
        self.rows += len(block)

    def copy(self, source: FileIO, rows: int) -> None:
        """Append ``rows`` rows as they lie in ``source``."""
        if not copy_bytes(source, self._file, rows * self.dtype.itemsize * math.prod(self.row)):
            raise ArtifactCorrupted("a shard ends early", place=self.path.name, hint="Build it again.")
        self.rows += rows

    def close(self) -> None:
        self._file.seek(0)
        self._write(npy_header(self.dtype, (self.rows, *self.row)))
        self._file.close()

    def _write(self, block: bytes | memoryview) -> None:
        left = memoryview(block)
        while left:
            left = left[self._file.write(left) :]

    def abort(self) -> None:
        self._file.close()


def copy_bytes(source: FileIO, out: FileIO, number: int) -> bool:
    """Append the next ``number`` bytes of one file to another; False if there are not as many.

    The kernel copies where it can: on two files of ext4 that took a tenth of the time of reading and writing.
    """
    left, by_kernel = number, hasattr(os, "copy_file_range")
    while left:
        if by_kernel:
            try:
                done = os.copy_file_range(source.fileno(), out.fileno(), left)
            except OSError as e:
                if e.errno not in _NO_KERNEL_COPY:
                    raise
                by_kernel = False
                continue
        else:
            piece = source.read(min(left, _COPY_BYTES))
            done = len(piece)
            while piece:
                piece = piece[out.write(piece) :]
        if not done:
            return False
        left -= done
    return True


class StoreWriter:
    """Appends graphs to a new store folder; ``meta.json`` is written last, on a clean exit.

    Raises StorageFull when the disk is full.
    """

    def __init__(self, path: Path, *, num_node_features: int = len(NODE_NAMES)) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        rows: dict[str, tuple[int, ...]] = {"x": (num_node_features,), "edge_attr": (len(EDGE_NAMES),)}
        names = [name for name in ARRAYS if name != "edge_index"]
        self._files = {
            name: _Growing(path / f"{name}.npy", ARRAYS[name], rows.get(name, ())) for name in names
        }
        # edge_index is [2, E] in C order: its second row cannot be placed before E is known.
        self._ends = [_Growing(path / f".edge_{end}.part", ARRAYS["edge_index"]) for end in (0, 1)]
        self._nodes = self._edges = 0
        self._files["node_ptr"].append(np.zeros(1, np.int64))
        self._files["edge_ptr"].append(np.zeros(1, np.int64))
        self.meta: dict[str, Any] = {}

    @property
    def num_graphs(self) -> int:
        return self._files["y"].rows

    def append(
        self,
        graphs: PackedGraphs,
        *,
        capture: int,
        first_index: int = 0,
        calibration_end_s: float = 0.0,
        profile: int = 0,
        attack_codes: Sequence[int] = (),
    ) -> None:
        """Add the windows of one capture.

        Args:
            capture: index into ``meta["captures"]``.
            first_index: ordinal of the first window inside its capture.
            calibration_end_s: windows that begin before it are marked as calibration.
            profile: index into ``meta["profiles"]``.
            attack_codes: the store's code of each attack name of the capture.
        """
        window = np.zeros(len(graphs), WINDOW_DTYPE)
        window["capture"], window["profile"] = capture, profile
        window["start"], window["t0"], window["t1"] = graphs.start_G, graphs.t0_G, graphs.t1_G
        window["index"] = first_index + np.arange(len(graphs))
        window["calibration"] = graphs.t0_G < calibration_end_s
        codes = np.asarray([*attack_codes, -1], np.int16)  # the last serves −1, benign
        self.append_arrays(graphs, codes[graphs.attack_G], window)

    def append_arrays(
        self, graphs: PackedGraphs, attack_G: npt.NDArray[np.int16], window: npt.NDArray[Any]
    ) -> None:
        """Add graphs whose attack codes and window rows are the store's own already."""
        try:
            files = self._files
            files["node_ptr"].append(self._nodes + np.cumsum(graphs.node_counts_G))
            files["edge_ptr"].append(self._edges + np.cumsum(graphs.edge_counts_G))
            files["node_id"].append(graphs.node_id_N)
            files["x"].append(graphs.x_ND)
            files["edge_attr"].append(graphs.edge_attr_E11)
            files["y"].append(graphs.y_G)
            files["attack"].append(attack_G)
            files["node_y"].append(graphs.node_y_N)
            files["window"].append(window)
            for end in (0, 1):
                self._ends[end].append(graphs.edge_index_2E[end])
        except OSError as e:
            raise _full_or(e, self.path) from e
        self._nodes += int(graphs.node_counts_G.sum())
        self._edges += int(graphs.edge_counts_G.sum())

    def append_store(self, path: Path) -> None:
        """Add all graphs of another store of the same build behind those there, its captures and attacks too.

        Arrays are copied as they lie on disk, in bounded memory; positions and codes are changed to this store's.
        """
        shard = GraphStore.open(path)
        captures, attacks = self.meta.setdefault("captures", []), self.meta.setdefault("attacks", [])
        attacks += [name for name in shard.meta["attacks"] if name not in attacks]
        codes = np.asarray([*(attacks.index(name) for name in shard.meta["attacks"]), -1], np.int16)
        try:
            self._copy_graphs(shard, codes, len(captures))
            for name in ("node_id", "x", "edge_attr", "y", "node_y"):
                with _array_file(path / f"{name}.npy") as (source, shape):
                    self._files[name].copy(source, shape[0])
            with _array_file(path / "edge_index.npy") as (source, shape):
                for end in self._ends:
                    end.copy(source, shape[1])
        except OSError as e:
            raise _full_or(e, self.path) from e
        self._nodes += int(shard.node_ptr[-1])
        self._edges += int(shard.edge_ptr[-1])
        captures += shard.meta["captures"]

    def _copy_graphs(self, shard: GraphStore, codes: npt.NDArray[np.int16], first_capture: int) -> None:
        for start in range(0, len(shard), _COPY_GRAPHS):
            block = slice(start, min(start + _COPY_GRAPHS, len(shard)))
            window = shard.window_G[block].copy()
            window["capture"] += first_capture
            self._files["window"].append(window)
            self._files["attack"].append(codes[shard.attack_G[block]])
            self._files["node_ptr"].append(self._nodes + shard.node_ptr[1:][block])
            self._files["edge_ptr"].append(self._edges + shard.edge_ptr[1:][block])

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for growing in (*self._files.values(), *self._ends):
                growing.abort()
            return
        try:
            self._finish()
        except OSError as e:
            raise _full_or(e, self.path) from e

    def _finish(self) -> None:
        for growing in (*self._files.values(), *self._ends):
            growing.close()
        with (self.path / "edge_index.npy").open("wb", buffering=0) as out:
            out.write(npy_header(ARRAYS["edge_index"], (2, self._edges)))
            for part in self._ends:
                with part.path.open("rb", buffering=0) as source:
                    source.seek(HEADER_BYTES)
                    copy_bytes(source, out, self._edges * ARRAYS["edge_index"].itemsize)
                part.path.unlink()
        counts = {"graphs": self.num_graphs, "nodes": self._nodes, "edges": self._edges}
        names = {"node_features": list(NODE_NAMES), "edge_features": list(EDGE_NAMES)}
        meta = {"version": STORE_VERSION, **counts, **names, **self.meta}
        (self.path / "meta.json").write_text(json.dumps(meta, indent=1))


def _full_or(error: OSError, path: Path) -> Exception:
    if error.errno == errno.ENOSPC:
        return StorageFull(
            "no space left while writing graphs",
            place=str(path),
            hint="Free space or move CANDOR_CACHE_ROOT.",
        )
    return error


def slice_graphs(store: GraphStore, start: int, stop: int) -> PackedGraphs:
    """Graphs ``[start, stop)`` of a whole store (no subset), as they were appended."""
    n0, n1 = int(store.node_ptr[start]), int(store.node_ptr[stop])
    e0, e1 = int(store.edge_ptr[start]), int(store.edge_ptr[stop])
    window = store.window_G[start:stop]
    return PackedGraphs(
        node_counts_G=np.diff(store.node_ptr[start : stop + 1]),
        edge_counts_G=np.diff(store.edge_ptr[start : stop + 1]),
        node_id_N=store.node_id_N[n0:n1],
        x_ND=store.x_ND[n0:n1],
        edge_index_2E=store.edge_index_2E[:, e0:e1],
        edge_attr_E11=store.edge_attr_E11[e0:e1],
        y_G=store.y_G[start:stop],
        attack_G=store.attack_G[start:stop],
        node_y_N=store.node_y_N[n0:n1],
        start_G=window["start"],
        t0_G=window["t0"],
        t1_G=window["t1"],
    )


def concat(shards: Iterable[Path], out: Path) -> GraphStore:
    """Join stores of one build (same window config and profiles), in order and in bounded memory."""
    with StoreWriter(out) as writer:
        for path in shards:
            writer.append_store(path)
            meta = json.loads((path / "meta.json").read_text())
            writer.meta = {k: v for k, v in meta.items() if k not in _OWN_META} | writer.meta
        writer.meta.setdefault("captures", [])
        writer.meta.setdefault("attacks", [])
    return GraphStore.open(out)


@contextmanager
def _array_file(path: Path) -> Iterator[tuple[FileIO, tuple[int, ...]]]:
    """The file of an array at its first byte of data, and the array's shape."""
    with path.open("rb", buffering=0) as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        yield file, shape
