"""CICIDS2017: generated labelled flows, the improved re-labelling, and the address-less files for machine learning.

Sharafaldin, Lashkari, Ghorbani (ICISSP 2018); re-labelled by Liu, Engelen et al. (CNS 2022). Original times are
day/month, to the minute on most days, on a 12-hour clock without AM or PM; the recordings lie between 8:00 and 18:00, so
hours before 8 are after noon. A flow that the re-labelling calls "attempted" carried no payload: benign, as its authors
advise.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.flows.fields import family, number, protocol, whole
from candor.ids.captures.flows.layout import NO_PORT, Layout, both, scaled

_FIRST_HOUR: Final = 8


def _either(*names: str) -> pl.Expr:
    """The same measure under the names of both releases."""
    return pl.coalesce([number(name) for name in names])


def _time() -> pl.Expr:
    text = pl.col("timestamp")
    iso = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    parts = text.str.extract_groups(r"^(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})(?::(\d{2}))?$")

    def part(i: int) -> pl.Expr:
        return parts.struct.field(str(i)).cast(pl.Int32, strict=False)

    day, month, hour, minute = part(1), part(2), part(4), part(5)
    possible = day.is_between(1, 31) & month.is_between(1, 12) & (hour < 24) & (minute < 60)
    afternoon = pl.when(hour < _FIRST_HOUR).then(hour + 12).otherwise(hour)
    date = pl.concat_str(
        [part(3).cast(pl.String), month.cast(pl.String).str.zfill(2), day.cast(pl.String).str.zfill(2)],
        separator="-",
    ).str.to_date("%Y-%m-%d", strict=False)
    seconds = (afternoon * 3600 + minute * 60 + part(6).fill_null(0)).cast(pl.Float64)
    old = pl.when(possible).then(date.dt.epoch("s").cast(pl.Float64) + seconds)
    return pl.coalesce(iso.dt.epoch("us").cast(pl.Float64) / 1e6, old)


_SRC_BYTES: Final = _either("total_length_of_fwd_packets", "total_length_of_fwd_packet")
_DST_BYTES: Final = _either("total_length_of_bwd_packets", "total_length_of_bwd_packet")
_SRC_PACKETS: Final = _either("total_fwd_packets", "total_fwd_packet")
_DST_PACKETS: Final = _either("total_backward_packets", "total_bwd_packets")
_MEASURES: Final = {
    "duration_s": scaled("flow_duration", 1e-6),
    "bytes": both(_SRC_BYTES, _DST_BYTES),
    "packets": both(_SRC_PACKETS, _DST_PACKETS),
    "src_bytes": _SRC_BYTES,
    "dst_bytes": _DST_BYTES,
    "src_packets": _SRC_PACKETS,
    "dst_packets": _DST_PACKETS,
}
_BOTH_RELEASES: Final = (
    *("total_length_of_fwd_packets", "total_length_of_fwd_packet", "total_length_of_bwd_packets"),
    *("total_length_of_bwd_packet", "total_fwd_packets", "total_fwd_packet", "total_backward_packets"),
    *("total_bwd_packets", "attempted_category"),
)
#: Columns of both releases that are finite by definition; rates divide by durations of zero.
_FEATURES: Final = (
    *("fwd_packet_length_max", "fwd_packet_length_min", "fwd_packet_length_mean", "fwd_packet_length_std"),
    *("bwd_packet_length_max", "bwd_packet_length_min", "bwd_packet_length_mean", "bwd_packet_length_std"),
    *("flow_iat_mean", "flow_iat_std", "flow_iat_max", "flow_iat_min", "fin_flag_count", "syn_flag_count"),
    *("rst_flag_count", "psh_flag_count", "ack_flag_count", "urg_flag_count"),
)

_TEXT: Final = family(pl.col("label"))
_ATTEMPTED: Final = (number("attempted_category") >= 0).fill_null(False) | _TEXT.str.ends_with("attempted")
_LABEL: Final = (
    pl.when(_TEXT.is_null() | (_TEXT == ""))
    .then(None)
    .otherwise(((_TEXT != "benign") & ~_ATTEMPTED).cast(pl.Int64))
)

LABELLED_FLOWS: Final = Layout(
    name="cicids2017",
    title="CICIDS2017 generated-labelled-flows, and the re-labelling of 2022",
    required=("src_ip", "src_port", "dst_ip", "dst_port", "protocol", "timestamp", "flow_duration", "label"),
    optional=_BOTH_RELEASES,
    t_start=_time(),
    src="src_ip",
    dst="dst_ip",
    sport=whole("src_port"),
    dport=whole("dst_port"),
    proto=protocol("protocol"),
    measures=_MEASURES,
    label=_LABEL,
    family=_TEXT,
    features=_FEATURES,
)

MACHINE_LEARNING: Final = Layout(
    name="cicids2017_ml",
    title="CICIDS2017 MachineLearningCVE",
    required=("dst_port", "flow_duration", "label"),
    optional=_BOTH_RELEASES,
    t_start=None,
    src=None,
    dst=None,
    sport=NO_PORT,
    dport=whole("dst_port"),
    proto=pl.lit(255, pl.Int64),
    measures=_MEASURES,
    label=_LABEL,
    family=_TEXT,
    features=_FEATURES,
)

#: Names of the first release, by those of the second.
RENAMED: Final = {
    "source_ip": "src_ip",
    "source_port": "src_port",
    "destination_ip": "dst_ip",
    "destination_port": "dst_port",
}
