"""Node features of flow graphs: nodes are hosts, edges are the flows of one ordered pair of hosts in a window.

One table for all flow data sets, then three columns for each *quantity* of a flow: the common ones, and the data set's
own (see its importer). Quantities are signed logarithms, sign(v) · ln(1 + |v|): bytes span nine decades. The eleven edge
features are those of CAN graphs (features.EDGE_FEATURES), with a flow where a transition stands: one schema, and one
trunk of a model, serve both domains.

Nothing here is relative to a host's own history, and no host is known by name: a profile of known hosts would tell the
attacker by its absence, which is an address whitelist in disguise (`controls` measures how far that one goes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from candor.ids.graphs.features import Feature, Scope

#: Common quantities of a flow, columns of schema.MEASURES.
QUANTITIES: Final = ("duration_s", "src_bytes", "dst_bytes", "src_packets", "dst_packets", "bytes", "packets")
#: How a quantity of a host's flows is summed up.
VIEWS: Final = ("out_mean", "out_max", "in_mean")


def _host(name: str, unit: str, floor: float, definition: str, scope: Scope = "node") -> Feature:
    return Feature(name, unit, "agnostic", floor, definition, scope)


HOST_FEATURES: Final[tuple[Feature, ...]] = (
    _host("out_flows", "share", 0.02, "flows the host opens / flows of the window"),
    _host("in_flows", "share", 0.02, "flows opened towards the host / flows of the window"),
    _host("out_peers", "share", 0.02, "distinct hosts it opens flows to / nodes"),
    _host("in_peers", "share", 0.02, "distinct hosts that open flows to it / nodes"),
    _host("out_ports", "share", 0.05, "distinct destination ports of its flows / its flows; 0 without"),
    _host("in_ports", "share", 0.05, "distinct ports it is spoken to / flows to it; 0 without"),
    _host("out_low_ports", "share", 0.05, "share of its flows to ports below 1024; 0 without"),
    _host("out_tcp", "share", 0.05, "share of its flows that are TCP; 0 without"),
    _host("out_udp", "share", 0.05, "share of its flows that are UDP; 0 without"),
    _host("out_icmp", "share", 0.05, "share of its flows that are ICMP; 0 without"),
    _host(
        "first_position", "share of window", 0.05, "index of the first flow it takes part in / (flows − 1)"
    ),
    _host("last_position", "share of window", 0.05, "index of the last flow it takes part in / (flows − 1)"),
    _host(
        "window_rate",
        "ln 1/s",
        0.1,
        "ln(flows of the window / max(duration, 1 ms)); 0 without times",
        "window",
    ),
    _host("window_hosts", "share", 0.02, "nodes / (2 × flows)", "window"),
)


def flow_features(own: Sequence[str]) -> tuple[Feature, ...]:
    """All node features of a data set with these quantities of its own, in the order of the columns."""
    return HOST_FEATURES + tuple(
        _host(f"{name}_{view}", "signed ln", 0.1, f"{view.replace('_', ' ')} over the host's flows of {name}")
        for name in (*QUANTITIES, *own)
        for view in VIEWS
    )
