"""CTU-13 (Argus binetflow), IoT-23 (Zeek conn.log.labeled, and CSV of it) and NetFlow v2 (NF-*-v2)."""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.flows.fields import family, number, protocol, whole
from candor.ids.captures.flows.layout import UNKNOWN, Layout, both, scaled

# García et al., "An empirical comparison of botnet detection methods" (Computers & Security 2014). Background is what
# nobody checked; the authors count it as not botnet, and so does Candor.
_CTU_TEXT: Final = pl.col("label").str.to_lowercase()

CTU13: Final = Layout(
    name="ctu13",
    title="CTU-13 binetflow (Argus)",
    required=(
        *("starttime", "dur", "proto", "srcaddr", "sport", "dir", "dstaddr", "dport", "state"),
        *("totpkts", "totbytes", "srcbytes", "label"),
    ),
    t_start=pl.col("starttime")
    .str.to_datetime("%Y/%m/%d %H:%M:%S%.f", time_unit="us", strict=False)
    .dt.epoch("us")
    .cast(pl.Float64)
    / 1e6,
    src="srcaddr",
    dst="dstaddr",
    sport=whole("sport"),
    dport=whole("dport"),
    proto=protocol("proto"),
    measures={
        "duration_s": number("dur"),
        "bytes": number("totbytes"),
        "packets": number("totpkts"),
        "src_bytes": number("srcbytes"),
        "dst_bytes": number("totbytes") - number("srcbytes"),
        "src_packets": UNKNOWN,
        "dst_packets": UNKNOWN,
    },
    may_lack=frozenset({"src_packets", "dst_packets"}),
    label=pl.when(_CTU_TEXT.str.contains("botnet"))
    .then(1)
    .when(_CTU_TEXT.str.contains("normal|background"))
    .then(0),
    family=pl.lit("botnet"),
    features=("stos", "dtos"),
)

# García, Parmisano, Erquiaga: IoT-23 (Zenodo 4743746). Zeek leaves duration and payload bytes unset for connections
# that it saw one packet of; IP bytes are always there.
_ZEEK_TEXT: Final = family(pl.col("label"))

ZEEK: Final = Layout(
    name="zeek",
    title="IoT-23, Zeek conn.log.labeled and CSV of it",
    required=(
        *("ts", "id_orig_h", "id_orig_p", "id_resp_h", "id_resp_p", "proto", "duration", "conn_state"),
        *("orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"),
    ),
    optional=("label", "detailed_label"),
    t_start=number("ts"),
    src="id_orig_h",
    dst="id_resp_h",
    sport=whole("id_orig_p"),
    dport=whole("id_resp_p"),
    proto=protocol("proto"),
    measures={
        "duration_s": pl.when(pl.col("duration").is_null()).then(0.0).otherwise(number("duration")),
        "bytes": both(number("orig_ip_bytes"), number("resp_ip_bytes")),
        "packets": both(number("orig_pkts"), number("resp_pkts")),
        "src_bytes": number("orig_ip_bytes"),
        "dst_bytes": number("resp_ip_bytes"),
        "src_packets": number("orig_pkts"),
        "dst_packets": number("resp_pkts"),
    },
    label=pl.when(_ZEEK_TEXT.str.starts_with("malicious")).then(1).when(_ZEEK_TEXT == "benign").then(0),
    family=pl.coalesce(family(pl.col("detailed_label")), pl.lit("malicious")),
    labelled="label",
    features=("orig_bytes", "resp_bytes", "missed_bytes"),
)

# Sarhan, Layeghy, Portmann, "Towards a standard feature set for network intrusion detection system datasets" (Mobile
# Networks and Applications 2022). Version 2 has no times at all.
_NF_TTL: Final = "names the machine that made the packets, like an address"

NETFLOW_V2: Final = Layout(
    name="netflow_v2",
    title="NF-*-v2 NetFlow CSV",
    required=(
        *("ipv4_src_addr", "l4_src_port", "ipv4_dst_addr", "l4_dst_port", "protocol", "in_bytes", "in_pkts"),
        *("out_bytes", "out_pkts", "flow_duration_milliseconds", "label", "attack"),
    ),
    t_start=None,
    src="ipv4_src_addr",
    dst="ipv4_dst_addr",
    sport=whole("l4_src_port"),
    dport=whole("l4_dst_port"),
    proto=protocol("protocol"),
    measures={
        "duration_s": scaled("flow_duration_milliseconds", 1e-3),
        "bytes": both(number("in_bytes"), number("out_bytes")),
        "packets": both(number("in_pkts"), number("out_pkts")),
        "src_bytes": number("in_bytes"),
        "dst_bytes": number("out_bytes"),
        "src_packets": number("in_pkts"),
        "dst_packets": number("out_pkts"),
    },
    label=number("label").cast(pl.Int64, strict=False),
    family=family(pl.col("attack")),
    features=(
        *("tcp_flags", "client_tcp_flags", "server_tcp_flags", "duration_in", "duration_out"),
        *("longest_flow_pkt", "shortest_flow_pkt", "min_ip_pkt_len", "max_ip_pkt_len"),
        *("retransmitted_in_bytes", "retransmitted_out_bytes", "num_pkts_up_to_128_bytes"),
        *("num_pkts_128_to_256_bytes", "num_pkts_256_to_512_bytes", "num_pkts_512_to_1024_bytes"),
        *("num_pkts_1024_to_1514_bytes", "tcp_win_max_in", "tcp_win_max_out", "icmp_type", "dns_query_type"),
    ),
    withheld={"min_ttl": _NF_TTL, "max_ttl": _NF_TTL},
)
