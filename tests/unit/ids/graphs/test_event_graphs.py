"""The general engine, held against the compiled CAN builder, and host features against plain loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from flow_world import FlowWorld, make_flow_world
from graph_cases import bus

from candor.ids.captures.flows import schema
from candor.ids.captures.flows.flow_file import FlowArray
from candor.ids.graphs.calibration import first_seconds
from candor.ids.graphs.event_graphs import Events, edges, entries, window_labels
from candor.ids.graphs.flow_features import HOST_FEATURES, QUANTITIES, VIEWS, flow_features
from candor.ids.graphs.flow_graphs import FlowStream, build_flow_windows, flow_blocks, prepare_flows
from candor.ids.graphs.flow_reference import build_flow_windows as reference_windows
from candor.ids.graphs.kernels import build_windows
from candor.ids.graphs.packed import PackedGraphs
from candor.ids.graphs.stream import prepare, relate


@pytest.fixture(scope="module")
def flow_world(tmp_path_factory: pytest.TempPathFactory) -> FlowWorld:
    return make_flow_world(tmp_path_factory.mktemp("flows"))


def test_transitions_as_events_give_the_edges_of_the_can_builder():
    frames = bus(3.0)
    stream = prepare(frames)
    relative = relate(stream, first_seconds(frames, 1.0, vehicle="v", capture="c"))
    start = np.arange(0, len(stream) - 60, 25)
    packed = build_windows(stream, relative, start, window_frames=60)
    n = len(stream) - 1
    events = Events(
        t_n=stream.t_n[1:],  # A transition happens when its second frame arrives.
        source_n=stream.code_n[:-1].astype(np.int64),
        target_n=stream.code_n[1:].astype(np.int64),
        quantity_nQ=np.zeros((n, 0)),
        y_n=np.zeros(n, np.uint8),
        attack_n=np.full(n, -1, np.int16),
        attack_names=(),
    )
    e = entries(events, start, start + 59)
    made = edges(events, e)
    assert np.array_equal(e.node_counts_G, packed.node_counts_G)
    assert np.array_equal(stream.key_U[e.node_code_N], packed.node_id_N)
    assert np.array_equal(made.counts_G, packed.edge_counts_G)
    assert np.array_equal(made.index_2E, packed.edge_index_2E)
    np.testing.assert_allclose(made.attr_E11, packed.edge_attr_E11, rtol=1e-4, atol=1e-6)


def arrays(world: FlowWorld, capture: str = "late") -> schema.FlowArrays:
    return schema.to_arrays(world.flows(capture))


def test_host_features_are_what_the_table_says(flow_world: FlowWorld):
    flows = arrays(flow_world)
    start, stop = np.array([0, 40, 45]), np.array([20, 70, 65])
    packed = build_flow_windows(prepare_flows(flows), start, stop)
    names = [f.name for f in flow_features(flows.feature_names)]
    node = 0
    for g, (a, b) in enumerate(zip(start.tolist(), stop.tolist(), strict=True)):
        hosts: list[int] = []
        for i in range(a, b):
            hosts += [h for h in (flows.src[i], flows.dst[i]) if h not in hosts]
        assert packed.node_counts_G[g] == len(hosts)
        for host in hosts:
            expected = naive(flows, a, b, host, len(hosts))
            got = dict(zip(names, packed.x_ND[node].tolist(), strict=True))
            for name, value in expected.items():
                assert got[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
            node += 1


def naive(flows: schema.FlowArrays, a: int, b: int, host: int, nodes: int) -> dict[str, float]:
    width = b - a
    out = [i for i in range(a, b) if flows.src[i] == host]
    into = [i for i in range(a, b) if flows.dst[i] == host]
    part = [i - a for i in range(a, b) if host in (flows.src[i], flows.dst[i])]

    def share(values: list[bool]) -> float:
        return sum(values) / max(len(out), 1)

    found = {
        "out_flows": len(out) / width,
        "in_flows": len(into) / width,
        "out_peers": len({flows.dst[i] for i in out}) / nodes,
        "in_peers": len({flows.src[i] for i in into}) / nodes,
        "out_ports": len({flows.dport[i] for i in out}) / max(len(out), 1),
        "in_ports": len({flows.dport[i] for i in into}) / max(len(into), 1),
        "out_low_ports": share([0 <= flows.dport[i] < 1024 for i in out]),
        "out_tcp": share([flows.proto[i] == 6 for i in out]),
        "out_udp": share([flows.proto[i] == 17 for i in out]),
        "out_icmp": share([flows.proto[i] in (1, 58) for i in out]),
        "first_position": min(part) / (width - 1),
        "last_position": max(part) / (width - 1),
        "window_rate": math.log(width / max(flows.t[b - 1] - flows.t[a], 1e-3)),
        "window_hosts": nodes / (2 * width),
    }
    assert list(found) == [f.name for f in HOST_FEATURES]
    columns = {name: flows.measures_nM[:, schema.MEASURES.index(name)] for name in QUANTITIES}
    columns |= {name: flows.features_nK[:, k] for k, name in enumerate(flows.feature_names)}
    for name, values in columns.items():
        logs = [math.copysign(math.log1p(abs(float(v))), float(v)) for v in values]
        found[f"{name}_out_mean"] = sum(logs[i] for i in out) / max(len(out), 1)
        found[f"{name}_out_max"] = max((logs[i] for i in out), default=0.0)
        found[f"{name}_in_mean"] = sum(logs[i] for i in into) / max(len(into), 1)
    assert len(VIEWS) == 3
    return found


@pytest.mark.parametrize("piece_events", [1 << 18, 77])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_are_the_whole_cut_in_pieces(
    flow_world: FlowWorld, monkeypatch: pytest.MonkeyPatch, threads: int, piece_events: int
):
    from candor.ids.graphs import flow_graphs, pieces

    monkeypatch.setattr(pieces, "PIECE_EVENTS", piece_events)
    flows = arrays(flow_world, "early")
    stream = prepare_flows(flows)
    start = np.arange(0, 800, 10)
    whole = build_flow_windows(stream, start, start + 20)
    monkeypatch.setattr(flow_graphs, "BLOCK_ENTRIES", 300)
    parts = list(flow_blocks(FlowArray(flows), (start, start + 20), threads=threads))
    assert len(parts) > 3
    assert [first for first, _ in parts] == np.cumsum([0, *(len(p) for _, p in parts[:-1])]).tolist()
    for name, value in vars(whole).items():
        joined = np.concatenate([getattr(p, name) for _, p in parts], axis=int(name == "edge_index_2E"))
        assert joined.tobytes() == value.tobytes(), name
    assert list(flow_blocks(FlowArray(flows), (start[:0], start[:0]))) == []


def test_a_window_is_named_by_its_most_frequent_family():
    events = Events(
        t_n=np.arange(6.0),
        source_n=np.array([0, 1, 2, 0, 1, 0]),
        target_n=np.array([1, 0, 0, 1, 0, 1]),
        quantity_nQ=np.zeros((6, 0)),
        y_n=np.array([0, 1, 1, 1, 0, 0], np.uint8),
        attack_n=np.array([-1, 0, 1, 1, -1, -1], np.int16),
        attack_names=("dos", "scan"),
    )
    e = entries(events, np.array([0, 3]), np.array([4, 6]))
    y, attack, node_y = window_labels(events, e, 1)
    assert (y.tolist(), attack.tolist(), node_y.tolist()) == ([1, 1], [1, 1], [1, 1, 1, 1, 0])
    assert window_labels(events, e, 2)[0].tolist() == [1, 0]


def test_no_host_is_named_and_no_feature_depends_on_addresses(flow_world: FlowWorld, tmp_path: Path):
    other = make_flow_world(tmp_path / "other", host_seed=99)
    assert set(other.flows("late")["src"]) != set(flow_world.flows("late")["src"])
    for split in ("train", "val", "test"):
        a, b = flow_world.store(split), other.store(split)
        assert np.array_equal(a.x_ND, b.x_ND)
        assert np.array_equal(a.edge_attr_E11, b.edge_attr_E11)
        assert a.meta["node_features"] == b.meta["node_features"]
    vocabulary = (flow_world.done["build_train"] / "vocabulary.json").read_text()
    assert '"ids": []' in vocabulary


def test_train_validation_and_test_share_no_flow(flow_world: FlowWorld):
    spans: dict[str, set[int]] = {}
    for split in ("train", "val"):
        window = flow_world.store(split).window_G
        spans[split] = {i for s in window["start"].tolist() for i in range(s, s + 20)}
    assert spans["train"]
    assert spans["val"]
    distance = min(abs(a - b) for a in spans["val"] for b in spans["train"])
    assert distance > 20
    early, late = flow_world.flows("early"), flow_world.flows("late")
    assert not set(early["row"]) & set(late["row"])
    assert isinstance(early, pl.DataFrame)


def same_bits(a: PackedGraphs, b: PackedGraphs) -> None:
    for field, value in vars(a).items():
        other = getattr(b, field)
        assert value.dtype == other.dtype, field
        assert value.shape == other.shape, field
        assert value.tobytes() == other.tobytes() or np.array_equal(value, other), field


def made_up(
    seed: int, *, flows: int = 400, hosts: int = 12, quantities: int = 3, timed: bool = True
) -> FlowStream:
    rng = np.random.default_rng(seed)
    attack = rng.integers(-1, 3, flows).astype(np.int16)
    events = Events(
        t_n=np.cumsum(rng.exponential(0.01, flows) * (rng.random(flows) < 0.8)),
        source_n=rng.integers(0, hosts, flows),
        target_n=rng.integers(0, hosts, flows),  # Some flows of a host to itself.
        quantity_nQ=rng.normal(0, 5, (flows, quantities)),
        y_n=(attack >= 0).astype(np.uint8),
        attack_n=attack,
        attack_names=("a", "b", "c"),
    )
    port = rng.choice([-1, 0, 53, 80, 1023, 1024, 65535], flows)
    proto = rng.choice([0, 1, 6, 17, 58, 89], flows).astype(np.uint8)
    return FlowStream(events, np.arange(hosts, dtype=np.uint64), port, proto, timed)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize(("width", "stride"), [(20, 20), (50, 7), (1, 1), (400, 400)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_compiled_pass_gives_the_bits_of_the_reference(
    seed: int, width: int, stride: int, timed: bool
) -> None:
    stream = made_up(seed, timed=timed, quantities=seed * 4)
    start = np.arange(0, len(stream) - width + 1, stride)
    for least in (1, 5):
        found = build_flow_windows(stream, start, start + width, least)
        same_bits(found, reference_windows(stream, start, start + width, least))


def test_windows_of_any_length_and_real_flows_give_the_same_bits_too(flow_world: FlowWorld) -> None:
    stream = prepare_flows(arrays(flow_world, "early"))
    start, stop = np.array([0, 3, 3, 100, 500]), np.array([1, 400, 5, 900, 502])
    same_bits(build_flow_windows(stream, start, stop), reference_windows(stream, start, stop))


def test_a_quantity_that_is_not_a_number_is_not_hidden_by_a_larger_one() -> None:
    stream = made_up(3)
    stream.events.quantity_nQ[5, 1] = np.nan
    found = build_flow_windows(stream, np.array([0]), np.array([60]))
    same_bits(found, reference_windows(stream, np.array([0]), np.array([60])))
    assert np.isnan(found.x_ND).any()


def test_no_windows_make_no_graphs_and_windows_outside_are_refused() -> None:
    stream, none = made_up(0), np.zeros(0, np.int64)
    assert len(build_flow_windows(stream, none, none)) == 0
    for start, stop in ((0, 401), (-1, 5), (7, 7)):
        with pytest.raises(IndexError, match="400 flows"):
            build_flow_windows(stream, np.array([start]), np.array([stop]))


def test_transitions_of_a_bus_go_through_the_compiled_pass_as_through_the_builder_of_frames() -> None:
    frames = bus(3.0)
    stream = prepare(frames)
    relative = relate(stream, first_seconds(frames, 1.0, vehicle="v", capture="c"))
    start = np.arange(0, len(stream) - 60, 25)
    packed = build_windows(stream, relative, start, window_frames=60)
    n = len(stream) - 1
    benign = np.zeros(n, np.uint8), np.full(n, -1, np.int16), ()
    ends = stream.code_n[:-1].astype(np.int64), stream.code_n[1:].astype(np.int64)
    events = Events(stream.t_n[1:], *ends, np.zeros((n, 0)), *benign)
    hosts = np.arange(len(stream.key_U), dtype=np.uint64)
    flows = FlowStream(events, hosts, np.full(n, -1), np.zeros(n, np.uint8), True)
    made = build_flow_windows(flows, start, start + 59)
    assert np.array_equal(made.node_counts_G, packed.node_counts_G)
    assert np.array_equal(stream.key_U[made.node_id_N], packed.node_id_N)
    assert np.array_equal(made.edge_index_2E, packed.edge_index_2E)
    np.testing.assert_allclose(made.edge_attr_E11, packed.edge_attr_E11, rtol=1e-4, atol=1e-6)
