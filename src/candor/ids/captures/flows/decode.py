"""Raw rows to valid flows, and the rest with a reason: rows in = flows + quarantined, for every format.

Legend: a Layout says which column means what; what a valid time, host, port, measure and label is, is said here once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from candor.errors import CaptureRejected
from candor.ids.captures import quarantine
from candor.ids.captures.flows.layout import Layout
from candor.ids.captures.flows.schema import FEATURE, MEASURES, WITHHELD

#: Every reason a row of flows can be set aside, and what it means.
REASONS: Final = {
    "row_empty": "the line holds separators only",
    "malformed": "the line does not have the number of fields that the header has",
    "time_unreadable": "the start time is missing or not in the format's notation",
    "host_missing": "source or destination address is missing",
    "port_unreadable": "a port is neither decimal nor hexadecimal, or over 65535",
    "measure_unreadable": "duration, bytes or packets are missing or not a number",
    "measure_negative": "duration, bytes or packets are negative (CICFlowMeter wraps some durations)",
    "label_unknown": "the label is none of the format's labels",
}
_MAX_PORT: Final = 65535
#: Largest time taken for one: the year 2100 in seconds. Beyond, a column was misread.
_MAX_TIME_S: Final = 4.2e9
_QUOTED_ROWS: Final = 3
_CHECKED: Final = ("duration_s", "bytes", "packets", "src_bytes", "dst_bytes", "src_packets", "dst_packets")


@dataclass(frozen=True)
class Parsed:
    """Flows in file order with addresses still as text (src_host, dst_host), and quarantined rows."""

    flows: pl.DataFrame
    quarantined: pl.DataFrame

    @property
    def rows(self) -> int:
        """Non-blank lines read: every one is a flow or in quarantine."""
        return self.flows.height + self.quarantined.height


def decode(raw: pl.DataFrame, layout: Layout, *, labelled: bool) -> Parsed:
    """Check every field of every row (columns: line, raw, broken, empty and ``layout.columns``)."""
    judged = _typed(raw, layout).with_columns(reason=_reason(layout, labelled))
    good, bad = judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())
    raw_text = pl.col("raw").str.slice(0, quarantine.RAW_CHARS)
    quarantined = bad.select(pl.col("line").cast(pl.Int64), "reason", raw_text)
    return Parsed(_flows(good, layout), quarantined)


@dataclass
class Balance:
    """What became of the rows of a file, part after part. ``reasons``: quarantined rows by reason."""

    flows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    offences: list[pl.DataFrame] = field(default_factory=list)

    def add(self, part: Parsed) -> None:
        """Count the rows of a part, and keep the first that are malformed."""
        self.flows += part.flows.height
        self.reasons.update(quarantine.counts(part.quarantined))
        bad = part.quarantined.filter(pl.col("reason") != "row_empty")
        if bad.height and sum(kept.height for kept in self.offences) < _QUOTED_ROWS:
            self.offences.append(bad.head(_QUOTED_ROWS))

    def judge(self, place: str, max_quarantined_share: float) -> None:
        """Raise CaptureRejected for a file without a flow, or with a larger share of malformed rows.

        Rows of separators alone do not speak against a file.
        """
        if not self.flows and not self.reasons:
            raise CaptureRejected("the file holds a header and no flow", place=place)
        bad = self.reasons.total() - self.reasons["row_empty"]
        first = pl.concat(self.offences) if self.offences else pl.DataFrame(schema=quarantine.SCHEMA)
        quarantine.refuse_count(bad, bad + self.flows, max_quarantined_share, first=first, place=place)
        if not self.flows:
            raise CaptureRejected(
                "the capture holds no flow", place=place, hint="Leave it out of the data set."
            )


def _typed(raw: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    t_start = layout.t_start if layout.t_start is not None else pl.col("line").cast(pl.Float64)
    nothing = pl.lit(None, pl.String)
    own = [_own(name).alias(FEATURE + name) for name in layout.features]
    own += [_own(name).alias(WITHHELD + name) for name in layout.withheld]
    return raw.select(
        "line",
        "raw",
        "broken",
        "empty",
        *(layout.measures[name].alias(name) for name in MEASURES),
        *own,
        t_start=t_start,
        src_host=pl.col(layout.src) if layout.src else nothing,
        dst_host=pl.col(layout.dst) if layout.dst else nothing,
        sport=_port(layout.sport),
        dport=_port(layout.dport),
        no_sport=_absent(layout.sport),
        no_dport=_absent(layout.dport),
        proto=layout.proto,
        label=layout.label.cast(pl.Int64),
        attack=layout.family,
    )


def _own(name: str) -> pl.Expr:
    """A feature as f32, 0 where it is absent, infinite or larger than f32 holds (0 / 0 of a flow without duration)."""
    value = pl.col(name).cast(pl.Float64, strict=False).cast(pl.Float32, strict=False)
    return pl.when(value.is_finite()).then(value).otherwise(0.0).cast(pl.Float32)


def _port(value: pl.Expr) -> pl.Expr:
    """−1 where the row has no port at all, null where it has one that cannot be read."""
    return pl.when(_absent(value)).then(-1).otherwise(value)


def _absent(value: pl.Expr) -> pl.Expr:
    names = value.meta.root_names()
    return pl.col(names[0]).is_null() if names else pl.lit(True)


def _reason(layout: Layout, labelled: bool) -> pl.Expr:
    time = pl.col("t_start").is_finite() & pl.col("t_start").is_between(0.0, _MAX_TIME_S)
    port = pl.all_horizontal(pl.col(p).is_between(-1, _MAX_PORT).fill_null(False) for p in ("sport", "dport"))
    needed = [name for name in _CHECKED if name not in layout.may_lack]
    readable = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in needed)
    host = pl.col("src_host").is_not_null() & pl.col("dst_host").is_not_null()
    checks = {
        "row_empty": pl.col("empty"),
        "malformed": pl.col("broken"),
        "time_unreadable": ~time.fill_null(False),
        "host_missing": ~host if layout.src else pl.lit(False),
        "port_unreadable": ~port,
        "measure_unreadable": ~readable,
        "measure_negative": pl.any_horizontal(pl.col(name) < 0 for name in needed),
        "label_unknown": ~pl.col("label").is_in([0, 1]).fill_null(False) if labelled else pl.lit(False),
    }
    return pl.coalesce(
        *(pl.when(failed).then(pl.lit(reason)) for reason, failed in checks.items()), pl.lit(None, pl.String)
    )


def _flows(good: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    attack = pl.when(pl.col("attack").fill_null("") == "").then(pl.lit("attack")).otherwise(pl.col("attack"))
    own = [name for name in good.columns if name.startswith((FEATURE, WITHHELD))]
    return good.select(
        "t_start",
        (pl.col("t_start") + pl.col("duration_s")).alias("t_end"),
        "src_host",
        "dst_host",
        pl.col("sport").cast(pl.Int32),
        pl.col("dport").cast(pl.Int32),
        pl.col("proto").cast(pl.UInt8),
        *(pl.col(name).cast(pl.Float64) for name in MEASURES),
        pl.col("label").cast(pl.UInt8),
        pl.when(pl.col("label") == 1).then(attack).otherwise(pl.lit("")).alias("attack"),
        pl.col("line").cast(pl.Int64).alias("row"),
        *own,
    )
