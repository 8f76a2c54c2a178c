"""Flows to graphs: the events of a capture, and its windows by one compiled pass (``flow_reference`` says it readably).

Legend: n flows, G windows, W flows of the longest, N nodes, E edges, U hosts of the capture, Q quantities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from candor.ids.captures.flows.flow_file import FlowArray, FlowFile
from candor.ids.captures.flows.schema import MEASURES, FlowArrays
from candor.ids.graphs import compiled_events as compiled
from candor.ids.graphs.blocks import in_order
from candor.ids.graphs.event_graphs import I64, Events
from candor.ids.graphs.features import EDGE_NAMES
from candor.ids.graphs.flow_features import HOST_FEATURES, QUANTITIES, VIEWS
from candor.ids.graphs.packed import PackedGraphs, make_room
from candor.ids.graphs.pieces import Piece, pieces
from candor.learn.reuse import Buffers

#: Entries (window × flow) built at a time, which bounds memory: its graphs take up to 400 B per entry.
BLOCK_ENTRIES = 1 << 17
#: IANA numbers of TCP, UDP and ICMP.
PROTOCOLS = ((6,), (17,), (1, 58))
#: Shortest window taken seriously, s: flows of one timestamp would have an infinite rate.
MIN_WINDOW_S = 1e-3

if (
    tuple(feature.name for feature in HOST_FEATURES),
    VIEWS,
    EDGE_NAMES,
) != (compiled.HOST_ORDER, compiled.VIEW_ORDER, compiled.EDGE_ORDER):
    raise KeyError("the compiled pass writes other columns than the feature tables name")


@dataclass(frozen=True)
class FlowStream:
    """Events of a capture, and what host features need besides.

    Attributes:
        host_U: u64 host keys, ascending; codes count them. port_n: destination ports. proto_n: IANA numbers.
        timed: False where row numbers stand in for seconds.
    """

    events: Events
    host_U: npt.NDArray[np.uint64]
    port_n: I64
    proto_n: npt.NDArray[np.uint8]
    timed: bool

    def __len__(self) -> int:
        return len(self.events)


def prepare_flows(
    flows: FlowArrays, *, timed: bool = True, host_U: npt.NDArray[np.uint64] | None = None
) -> FlowStream:
    """Number the hosts of a capture and take logarithms of its quantities.

    ``host_U``: the hosts of the whole capture, ascending, where ``flows`` are a piece of it.
    """
    if host_U is None:
        host_U = np.unique(np.concatenate([flows.src, flows.dst]))
    common = flows.measures_nM[:, [MEASURES.index(name) for name in QUANTITIES]]
    quantity = np.concatenate([common, flows.features_nK.astype(np.float64)], axis=1)
    events = Events(
        t_n=flows.t,
        source_n=np.searchsorted(host_U, flows.src),
        target_n=np.searchsorted(host_U, flows.dst),
        quantity_nQ=np.sign(quantity) * np.log1p(np.abs(quantity)),
        y_n=flows.y,
        attack_n=flows.attack_code,
        attack_names=tuple(flows.attack_names),
    )
    return FlowStream(events, host_U, flows.dport.astype(np.int64), flows.proto, timed)


def flow_blocks(
    capture: FlowFile | FlowArray,
    ranges: tuple[I64, I64],
    *,
    timed: bool = True,
    min_attack_flows: int = 1,
    threads: int = 1,
) -> Iterator[tuple[int, PackedGraphs]]:
    """Graphs of the windows in order, with the ordinal of the first of each block; the same for any ``threads``.

    ``timed``: False where row numbers stand in for seconds. See ``blocks.in_order`` for threads and memory.
    """

    def make(flows: FlowArrays, _: int) -> tuple[FlowStream, compiled.Flows]:
        stream = prepare_flows(flows, timed=timed, host_U=capture.host_U)
        return stream, _flows(stream)

    def build(
        piece: Piece[tuple[FlowStream, compiled.Flows]], block: slice, buffers: Buffers
    ) -> PackedGraphs:
        return _build(*piece.made, piece.start_G[block], piece.stop_G[block], min_attack_flows, buffers)

    return in_order(pieces(capture.cursor(), len(capture), ranges, make), build, BLOCK_ENTRIES, threads)


def build_flow_windows(
    stream: FlowStream, start_G: I64, stop_G: I64, min_attack_flows: int = 1
) -> PackedGraphs:
    """Graphs of the windows ``[start, stop)``. ``node_id`` is the host's code within its capture, for people only.

    Releases the GIL. Raises IndexError if a window leaves the capture or is empty.
    """
    return _build(stream, _flows(stream), start_G, stop_G, min_attack_flows, Buffers())


def _build(
    stream: FlowStream,
    flows: compiled.Flows,
    start_G: I64,
    stop_G: I64,
    min_attack_flows: int,
    buffers: Buffers,
) -> PackedGraphs:
    events = stream.events
    start, stop = np.ascontiguousarray(start_G, np.int64), np.ascontiguousarray(stop_G, np.int64)
    width_G = stop - start
    if len(start) and (start.min() < 0 or stop.max() > len(stream) or width_G.min() < 1):
        raise IndexError(f"windows of a flow or more must lie inside the capture's {len(stream)} flows")
    hosts, features = len(stream.host_U), len(HOST_FEATURES) + len(VIEWS) * events.quantity_nQ.shape[1]
    nodes, edges = int(np.minimum(2 * width_G, hosts).sum()), int(np.minimum(width_G, hosts**2).sum())
    room = make_room(len(start), nodes, edges, features, buffers)
    num_nodes, num_edges = compiled.pack_events(
        flows,
        *(start, stop, _rate(stream, start, stop), min_attack_flows, len(events.attack_names), room.out),
        _scratch(int(width_G.max(initial=1)), hosts, events.quantity_nQ.shape[1]),
    )
    return room.taken(num_nodes, num_edges, start, stop, events.t_n)


def _flows(stream: FlowStream) -> compiled.Flows:
    events = stream.events
    proto_n = np.full(len(stream), compiled.OTHER, np.uint8)
    for code, numbers in zip((compiled.TCP, compiled.UDP, compiled.ICMP), PROTOCOLS, strict=True):
        proto_n[np.isin(stream.proto_n, numbers)] = code
    # Without times there are no intervals; row numbers would make some up.
    t_n = events.t_n if stream.timed else np.zeros(len(stream))
    columns = (t_n, events.source_n, events.target_n, stream.port_n, proto_n)
    return compiled.Flows(
        *(np.ascontiguousarray(column) for column in columns),
        *(np.ascontiguousarray(column) for column in (events.quantity_nQ, events.y_n, events.attack_n)),
    )


def _rate(stream: FlowStream, start_G: I64, stop_G: I64) -> npt.NDArray[np.float64]:
    t_n = stream.events.t_n
    if not stream.timed:
        return np.zeros(len(start_G))
    seconds_G = np.maximum(t_n[stop_G - 1] - t_n[start_G], MIN_WINDOW_S)
    return np.asarray(np.log((stop_G - start_G) / seconds_G))


def _scratch(width: int, hosts: int, quantities: int) -> compiled.Scratch:
    nodes, slots = max(min(2 * width, hosts), 1), 1 << (4 * width - 1).bit_length()
    return compiled.Scratch(
        node_of_code=np.full(hosts, -1, np.int64),
        ends=np.empty((2, width), np.int64),
        order=np.empty(width, np.int64),
        sorted=np.empty(width, np.int64),
        code_of=np.empty(nodes, np.int64),
        place=np.empty((nodes, 2), np.int64),
        count=np.empty((nodes, 4), np.int64),
        begin=np.empty(nodes, np.int64),
        peers=np.empty((nodes, 2), np.int64),
        sums=np.empty((nodes, 5), np.int64),
        views=np.empty((nodes, 3 * quantities)),
        slot_key=np.empty(slots, np.int64),
        slot_mark=np.zeros(slots, np.int64),
    )
