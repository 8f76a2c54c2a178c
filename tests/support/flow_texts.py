"""Headers and rows of flow files, as their publishers write them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import polars as pl

from candor.ids.captures.flows import unsw

CIC_HEAD = (
    "Flow ID, Source IP, Source Port, Destination IP, Destination Port, Protocol, Timestamp, Flow Duration,"
    " Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets, Total Length of Bwd Packets,"
    " Fwd Header Length, Fwd Header Length,Flow Bytes/s, Label\n"
)
IMPROVED_HEAD = (
    "id,Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,"
    "Total Bwd packets,Total Length of Fwd Packet,Total Length of Bwd Packet,Label,Attempted Category\n"
)
CTU_HEAD = (
    "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label\n"
)
ZEEK_FIELDS = (
    "ts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state"
    "\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents"
)
NF_HEAD = (
    "IPV4_SRC_ADDR,L4_SRC_PORT,IPV4_DST_ADDR,L4_DST_PORT,PROTOCOL,IN_BYTES,IN_PKTS,OUT_BYTES,OUT_PKTS,"
    "FLOW_DURATION_MILLISECONDS,MIN_TTL,Label,Attack,Dataset\n"
)


def unsw_row(**values: object) -> str:
    """One line of a raw UNSW-NB15 file; what is not given is a benign DNS query."""
    given = {
        "srcip": "10.0.0.1",
        "sport": 1390,
        "dstip": "10.0.0.9",
        "dsport": 53,
        "proto": "udp",
        "state": "CON",
        "dur": 0.001,
        "sbytes": 132,
        "dbytes": 164,
        "spkts": 2,
        "dpkts": 2,
        "service": "dns",
        "stime": 1421927414,
        "ltime": 1421927414,
        "attack_cat": "",
        "label": 0,
        **values,
    }
    return ",".join(str(given.get(name, 0)) for name in unsw.COLUMNS)


def nf_text(rows: int) -> str:
    """NetFlow v2 text in which one host in nine attacks now and then."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(rows):
        attack = i % 97 > 80
        host = "9.9.9.9" if attack else f"10.0.0.{rng.integers(1, 9)}"
        label = "1,DDoS" if attack else "0,Benign"
        lines.append(f"{host},1,10.0.1.1,80,6,{rng.integers(100, 900)},2,40,1,10,64,{label},NF")
    return NF_HEAD + "\n".join(lines) + "\n"


@cache
def samples() -> dict[str, tuple[bytes, ...]]:
    """Made-up files of every layout: text, without header where that occurs, and Parquet."""
    cic = "x,8.8.8.8,443,10.0.0.5,80,6,6/7/2017 9:30,3,2,1,12,7,40,40,1,"
    new = "1,x,1.0.0.5,1,1.0.0.3,53,17,2017-07-06 12:39:06.8,245,2,2,70,102,"
    ctu = "2011/08/15 16:43:28.1,1.5,tcp,1.0.0.1,1,   ->,1.0.0.2,80,C,0,0,6,388,208,flow="
    zeek = (
        "1.5\tC\t1.0.0.1\t1\t1.0.0.2\t80\ttcp\t-\t2\t5\t6\tS0\t-\t-\t0\tS\t1\t40\t0\t0\t-   Malicious   C&C\n"
    )
    unsw_rows = [
        unsw_row(),
        unsw_row(label=1, attack_cat=" Worms "),
        unsw_row(dsport="0x10"),
        unsw_row(label=""),
    ]
    ml_head = (
        " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,"
        "Total Length of Fwd Packets, Total Length of Bwd Packets, Label\n"
    )
    split_head = "id,dur,proto,service,state,spkts,dpkts,sbytes,dbytes,sttl,attack_cat,label\n"
    texts = {
        "unsw_nb15": ["\n".join(unsw_rows), "\n".join([",".join(unsw.COLUMNS), *unsw_rows])],
        "cicids2017": [
            CIC_HEAD + 3 * (cic + "BENIGN\n") + cic + "Web Attack – XSS\n",
            IMPROVED_HEAD + 3 * (new + "Botnet,-1\n") + new + "Botnet - Attempted,4\r\n" + 14 * "," + "\n",
        ],
        "ctu13": [CTU_HEAD + 2 * (ctu + "Background\n") + 2 * (ctu + "From-Botnet-V42\n")],
        "zeek": [
            "#separator \\x09\n#fields\t"
            + ZEEK_FIELDS
            + "   label   detailed-label\n"
            + 4 * zeek
            + "#close\n"
        ],
        "netflow_v2": [nf_text(6)],
        "cicids2017_ml": [ml_head + 4 * "22,166,1,1,0,0,BENIGN\n"],
        "unsw_nb15_split": [split_head + 4 * "1,0.1,tcp,-,FIN,6,4,258,172,252,Normal,0\n"],
    }
    found = {name: tuple(text.encode("cp1252") for text in given) for name, given in texts.items()}
    table = pl.read_csv(found["netflow_v2"][0])
    stored = io.BytesIO()
    table.write_parquet(stored)
    return found | {"netflow_v2": (*found["netflow_v2"], stored.getvalue())}
