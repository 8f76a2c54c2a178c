"""Headers and rows of flow files, as their publishers write them."""

from __future__ import annotations

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
