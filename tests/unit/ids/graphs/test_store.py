from __future__ import annotations

import errno
import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from graph_cases import bus, flood

from candor.errors import ArtifactCorrupted, SchemaMismatch, SourceMissing, StorageFull
from candor.ids.graphs import writer as writer_module
from candor.ids.graphs.calibration import measure
from candor.ids.graphs.features import NODE_NAMES
from candor.ids.graphs.kernels import PackedGraphs, build_windows
from candor.ids.graphs.store import ARRAYS, GraphStore
from candor.ids.graphs.stream import prepare, relate
from candor.ids.graphs.writer import StoreWriter, concat, slice_graphs
from candor.learn.reuse import Buffers


def graphs(seed: int = 0, seconds: float = 1.0) -> PackedGraphs:
    f = flood(bus(seconds, seed=seed), 0.3, 0.5)
    stream = prepare(f)
    profile = measure([prepare(bus(2.0, seed=9))], kind="attack_free", vehicle="v", source=["c"])
    starts = np.arange(0, len(stream) - 20, 20)
    return build_windows(stream, relate(stream, profile), starts, window_frames=20)


def write(path: Path, *parts: PackedGraphs, name: str = "c", attack: str = "dos") -> GraphStore:
    with StoreWriter(path) as w:
        for i, part in enumerate(parts):
            w.append(part, capture=i, first_index=3, calibration_end_s=0.2, attack_codes=[0])
        w.meta = {
            "captures": [{"capture": f"{name}{i}"} for i in range(len(parts))],
            "attacks": [attack],
            "window": {},
        }
    return GraphStore.open(path)


def test_what_was_appended_is_what_is_read(tmp_path: Path) -> None:
    a, b = graphs(0), graphs(1)
    store = write(tmp_path / "s", a, b)
    assert len(store) == len(a) + len(b)
    np.testing.assert_array_equal(store.x_ND, np.concatenate([a.x_ND, b.x_ND]))
    np.testing.assert_array_equal(
        store.edge_index_2E, np.concatenate([a.edge_index_2E, b.edge_index_2E], axis=1)
    )
    np.testing.assert_array_equal(store.node_counts, np.concatenate([a.node_counts_G, b.node_counts_G]))
    np.testing.assert_array_equal(store.attack_G, np.concatenate([a.attack_G, b.attack_G]))
    assert store.window_G["index"][: len(a)].tolist() == list(range(3, 3 + len(a)))
    assert store.window_G["calibration"].tolist() == (np.r_[a.t0_G, b.t0_G] < 0.2).tolist()
    assert {name: store._arrays[name].dtype for name in ARRAYS} == ARRAYS


def test_the_files_are_plain_npy_arrays_in_c_order_without_pickle(tmp_path: Path) -> None:
    write(tmp_path / "s", graphs())
    for name, dtype in ARRAYS.items():
        array = np.load(tmp_path / "s" / f"{name}.npy", allow_pickle=False)
        assert array.dtype == dtype
        assert array.flags.c_contiguous
    assert not list((tmp_path / "s").glob("*.part"))


def test_the_maps_are_read_only(tmp_path: Path) -> None:
    store = write(tmp_path / "s", graphs())
    with pytest.raises(ValueError, match="read-only"):
        store.x_ND[0, 0] = 1


def test_gather_numbers_edges_across_the_batch_and_keeps_the_order_asked(tmp_path: Path) -> None:
    store = write(tmp_path / "s", graphs())
    idx = [5, 0, 5, 3]
    b = store.gather(idx)
    at = 0
    for k, i in enumerate(idx):
        one = store.gather([i])
        nodes = b.graph_of_node_N == k
        np.testing.assert_array_equal(b.x_ND[nodes], one.x_ND)
        np.testing.assert_array_equal(b.node_id_N[nodes], one.node_id_N)
        edges = slice(at, at + store.edge_counts[i])
        np.testing.assert_array_equal(b.edge_index_2E[:, edges] - b.ptr[k], one.edge_index_2E)
        np.testing.assert_array_equal(b.edge_attr_E11[edges], one.edge_attr_E11)
        at = edges.stop
    assert b.y_G.tolist() == store.y_G[idx].tolist()
    assert b.index_G.tolist() == idx


def test_gather_into_buffers_gives_the_same_batch_and_reuses_the_memory(tmp_path: Path) -> None:
    store, buffers = write(tmp_path / "s", graphs()), Buffers()
    first = store.gather([0, 1, 2, 3], buffers)
    where = first.x_ND.__array_interface__["data"][0]
    again = store.gather([4, 2], buffers)
    assert again.x_ND.__array_interface__["data"][0] == where
    for name, value in vars(store.gather([4, 2])).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_a_subset_is_a_view_by_position_or_mask_and_subsets_nest(tmp_path: Path) -> None:
    store = write(tmp_path / "s", graphs())
    attacks = store.subset(store.y_G == 1)
    assert len(attacks) == store.y_G.sum()
    assert attacks.x_ND is store.x_ND
    nested = attacks.subset([1, 0])
    assert nested.graphs.tolist() == attacks.graphs[[1, 0]].tolist()
    np.testing.assert_array_equal(nested.gather([0]).x_ND, store.gather([int(attacks.graphs[1])]).x_ND)
    assert nested.node_counts.tolist() == store.node_counts[nested.graphs].tolist()
    assert len(store.subset([])) == 0
    assert nested.gather([0]).index_G.tolist() == [0]


def test_an_item_is_a_pyg_graph(tmp_path: Path) -> None:
    store = write(tmp_path / "s", graphs())
    data = store[-1]
    assert data.num_nodes == store.node_counts[-1]
    assert data.edge_attr.shape == (store.edge_counts[-1], 11)
    assert data.validate()
    with pytest.raises(IndexError):
        store[len(store)]


def test_an_empty_store_opens_and_has_no_graph(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    assert len(store) == 0
    assert store.gather([]).x_ND.shape[0] == 0


def test_joined_shards_equal_one_store_and_merge_their_attack_names(tmp_path: Path) -> None:
    a, b = graphs(0), graphs(1)
    shards = [write(tmp_path / "a", a), write(tmp_path / "b", b, name="d", attack="fuzzing")]
    joined = concat([s.path for s in shards], tmp_path / "joined")
    np.testing.assert_array_equal(joined.x_ND, np.concatenate([a.x_ND, b.x_ND]))
    np.testing.assert_array_equal(
        joined.edge_index_2E, np.concatenate([a.edge_index_2E, b.edge_index_2E], axis=1)
    )
    assert joined.meta["attacks"] == ["dos", "fuzzing"]
    assert [c["capture"] for c in joined.meta["captures"]] == ["c0", "d0"]
    assert set(joined.attack_G[len(a) :].tolist()) == {-1, 1}
    assert set(joined.window_G["capture"].tolist()) == {0, 1}


def test_a_slice_of_a_store_is_what_was_appended(tmp_path: Path) -> None:
    g = graphs()
    part = slice_graphs(write(tmp_path / "s", g), 0, len(g))
    for name, value in vars(g).items():
        np.testing.assert_array_equal(getattr(part, name), value)


def test_joining_ten_times_more_graphs_takes_the_same_memory(tmp_path: Path) -> None:
    shard = write(tmp_path / "a", graphs(seconds=4.0)).path

    def peak(copies: int) -> int:
        tracemalloc.start()
        concat([shard] * copies, tmp_path / f"x{copies}")
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(1)
    graphs_bytes = sum(p.stat().st_size for p in shard.glob("*.npy"))
    # What is told of each capture is held, its graphs are not.
    assert (peak(20) - peak(2)) / 18 < graphs_bytes / 20


def test_joining_is_the_same_where_the_kernel_does_not_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(tmp_path / "a", graphs()).path
    concat([shard] * 2, tmp_path / "by_kernel")
    copied, calls = os.copy_file_range, iter(range(10**9))

    def sometimes(source: int, out: int, number: int) -> int:
        if next(calls) % 2:
            raise OSError(errno.EXDEV, "another file system")
        return copied(source, out, min(number, 1000))

    monkeypatch.setattr(os, "copy_file_range", sometimes)
    concat([shard] * 2, tmp_path / "by_hand")
    files = sorted(p.name for p in (tmp_path / "by_kernel").iterdir())
    assert len(files) > 10
    for name in files:
        assert (tmp_path / "by_hand" / name).read_bytes() == (tmp_path / "by_kernel" / name).read_bytes()
    monkeypatch.setattr(os, "copy_file_range", lambda source, out, number: 0)
    with pytest.raises(ArtifactCorrupted, match="ends early"):
        concat([shard], tmp_path / "short")


def test_a_writer_that_fails_leaves_no_meta_so_the_store_does_not_open(tmp_path: Path) -> None:
    def interrupted() -> None:
        with StoreWriter(tmp_path / "s") as w:
            w.append(graphs(), capture=0, attack_codes=[0])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    with pytest.raises(SourceMissing, match=r"meta\.json is missing"):
        GraphStore.open(tmp_path / "s")


def test_rows_of_the_wrong_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch), StoreWriter(tmp_path / "s", num_node_features=3) as w:
        w.append(graphs(), capture=0, attack_codes=[0])


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, values: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    w = StoreWriter(tmp_path / "s")
    monkeypatch.setattr(writer_module._Growing, "append", full)
    with pytest.raises(StorageFull, match="no space left"):
        w.append(graphs(), capture=0, attack_codes=[0])


def test_a_truncated_array_or_arrays_that_disagree_are_corruption(tmp_path: Path) -> None:
    write(tmp_path / "s", graphs())
    np.save(tmp_path / "s" / "y.npy", np.zeros(2, np.uint8))
    with pytest.raises(ArtifactCorrupted, match="disagree"):
        GraphStore.open(tmp_path / "s")
    write(tmp_path / "t", graphs())
    raw = (tmp_path / "t" / "x.npy").read_bytes()
    (tmp_path / "t" / "x.npy").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ArtifactCorrupted, match="not a readable array"):
        GraphStore.open(tmp_path / "t")


def test_meta_names_the_columns(tmp_path: Path) -> None:
    store = write(tmp_path / "s", graphs())
    meta = json.loads((store.path / "meta.json").read_text())
    assert len(meta["node_features"]) == store.x_ND.shape[1]
    assert len(meta["edge_features"]) == 11
    assert meta["graphs"] == len(store)


def a_million_graphs(path: Path, graphs: int = 1_000_000) -> Path:
    """A store of graphs of one node and no edge; its files are holes, so it costs no disk."""
    rows = {"node_ptr": (graphs + 1,), "edge_ptr": (graphs + 1,), "x": (graphs, len(NODE_NAMES))}
    rows |= {"edge_index": (2, 0), "edge_attr": (0, 11)}
    path.mkdir()
    for name, dtype in ARRAYS.items():
        shape = rows.get(name, (graphs,))
        if 0 in shape:
            np.save(path / f"{name}.npy", np.zeros(shape, dtype))
            continue
        array = np.lib.format.open_memmap(path / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        if name == "node_ptr":
            array[:] = np.arange(graphs + 1)
        array.flush()
    (path / "meta.json").write_text(json.dumps({"captures": [], "attacks": []}))
    return path


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_store_of_a_million_graphs_opens_in_milliseconds_and_takes_no_memory(tmp_path: Path) -> None:
    path = a_million_graphs(tmp_path / "s")
    GraphStore.open(path)
    best_s, grown_bytes = 10.0, 1 << 60
    for _ in range(5):  # The least of five: other threads of this process work and take memory too.
        before, began = resident_bytes(), time.thread_time()
        store = GraphStore.open(path)
        best_s = min(best_s, time.thread_time() - began)
        grown_bytes = min(grown_bytes, resident_bytes() - before)
        assert len(store) == 1_000_000
        del store
    assert best_s < 0.05
    assert grown_bytes < 2_000_000


def test_a_subset_of_a_million_graphs_copies_none_of_them(tmp_path: Path) -> None:
    store = GraphStore.open(a_million_graphs(tmp_path / "s"))
    before = resident_bytes()
    half = store.subset(np.arange(0, len(store), 2))
    assert half.x_ND is store.x_ND
    assert len(half) == 500_000
    assert resident_bytes() - before < 30_000_000  # Two lists of positions; the features alone are 80 MB.
