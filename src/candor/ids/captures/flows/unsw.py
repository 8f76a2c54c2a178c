"""UNSW-NB15: the raw files with addresses (49 columns), and the published train/test split without.

Moustafa & Slay, "UNSW-NB15: a comprehensive data set for network intrusion detection systems" (MilCIS 2015). The four
raw files have no header, are not sorted, and know times to the second; ``attack_cat`` is blank on benign flows and
padded on some attacks; ports of ICMP are hexadecimal.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.flows.fields import family, number, protocol, whole
from candor.ids.captures.flows.layout import NO_PORT, Layout, both

COLUMNS: Final = (
    *("srcip", "sport", "dstip", "dsport", "proto", "state", "dur", "sbytes", "dbytes", "sttl", "dttl"),
    *("sloss", "dloss", "service", "sload", "dload", "spkts", "dpkts", "swin", "dwin", "stcpb", "dtcpb"),
    *("smeansz", "dmeansz", "trans_depth", "res_bdy_len", "sjit", "djit", "stime", "ltime", "sintpkt"),
    *("dintpkt", "tcprtt", "synack", "ackdat", "is_sm_ips_ports", "ct_state_ttl", "ct_flw_http_mthd"),
    *("is_ftp_login", "ct_ftp_cmd", "ct_srv_src", "ct_srv_dst", "ct_dst_ltm", "ct_src_ltm"),
    *("ct_src_dport_ltm", "ct_dst_sport_ltm", "ct_dst_src_ltm", "attack_cat", "label"),
)

#: Random TCP sequence numbers and what is computed from addresses or over hundreds of other flows are left out.
_FEATURES: Final = (
    *("sloss", "dloss", "swin", "dwin", "trans_depth", "res_bdy_len", "sjit", "djit"),
    *("sintpkt", "dintpkt", "tcprtt", "synack", "ackdat"),
)
_TTL: Final = "the attack generator's packets start at another TTL than the testbed's: it names the machine, like an address"

_CATEGORY: Final = family(pl.col("attack_cat"))
#: A blank label is told by its category; neither is no label at all.
_LABEL: Final = pl.coalesce(
    number("label").cast(pl.Int64, strict=False),
    pl.when(_CATEGORY.is_not_null()).then((_CATEGORY != "normal").cast(pl.Int64)),
)
_FAMILY: Final = _CATEGORY.replace({"backdoors": "backdoor"})
_MEASURES: Final = {
    "duration_s": number("dur"),
    "bytes": both(number("sbytes"), number("dbytes")),
    "packets": both(number("spkts"), number("dpkts")),
    "src_bytes": number("sbytes"),
    "dst_bytes": number("dbytes"),
    "src_packets": number("spkts"),
    "dst_packets": number("dpkts"),
}

RAW: Final = Layout(
    name="unsw_nb15",
    title="UNSW-NB15, raw files of 49 columns",
    required=COLUMNS,
    t_start=number("stime"),
    src="srcip",
    dst="dstip",
    sport=whole("sport"),
    dport=whole("dsport"),
    proto=protocol("proto"),
    measures=_MEASURES,
    label=_LABEL,
    family=_FAMILY,
    features=_FEATURES,
    withheld={"sttl": _TTL, "dttl": _TTL, "ct_state_ttl": _TTL},
    headerless=COLUMNS,
)

SPLIT: Final = Layout(
    name="unsw_nb15_split",
    title="UNSW-NB15 training-set and testing-set",
    required=(
        "dur",
        "proto",
        "service",
        "state",
        "spkts",
        "dpkts",
        "sbytes",
        "dbytes",
        "attack_cat",
        "label",
    ),
    t_start=None,
    src=None,
    dst=None,
    sport=NO_PORT,
    dport=NO_PORT,
    proto=protocol("proto"),
    measures=_MEASURES,
    label=_LABEL,
    family=_FAMILY,
    features=tuple(name for name in _FEATURES if name not in ("res_bdy_len", "sintpkt", "dintpkt")),
    withheld={"sttl": _TTL, "dttl": _TTL, "ct_state_ttl": _TTL},
)
