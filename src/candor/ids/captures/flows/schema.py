"""The one table every flow capture becomes, and the arrays that later stages read.

Legend: n flows of one capture, in order of time; K domain features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandera.polars as pa
import polars as pl
import pyarrow as pa_lib
import pyarrow.parquet as pq
from numpy.typing import NDArray

from candor.ids.captures import frames

#: Prefixes of a data set's own columns: a feature that models may see, one that is withheld from them.
FEATURE, WITHHELD = "x_", "w_"

#: What every format measures. Null where it says nothing (CTU-13 counts packets of both directions together).
MEASURES: Final = (
    "duration_s",
    "bytes",
    "packets",
    "src_bytes",
    "dst_bytes",
    "src_packets",
    "dst_packets",
)

#: t_start, t_end    s, as recorded (epoch; the row number where a format has no times)
#: src, dst          host keys (see hosts.py); null in captures without addresses
#: sport, dport      ports, −1 where the protocol has none
#: proto             IANA number, 255 for a name that is not one of the usual
#: label, attack     as in frames: 0, 1, null; family where label is 1, else ""
#: file, row         which raw file of the capture, and the line (row of a Parquet file) it came from
COLUMNS: Final[dict[str, pl.DataType]] = {
    "t_start": pl.Float64(),
    "t_end": pl.Float64(),
    "src": pl.UInt64(),
    "dst": pl.UInt64(),
    "sport": pl.Int32(),
    "dport": pl.Int32(),
    "proto": pl.UInt8(),
    **{name: pl.Float64() for name in MEASURES},
    "label": pl.UInt8(),
    "attack": pl.String(),
    "file": pl.Int32(),
    "row": pl.Int64(),
}
_NULLABLE: Final = {"src", "dst", "src_bytes", "dst_bytes", "src_packets", "dst_packets", "label"}
_MAX_PORT: Final = 65535


def _finite(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col(data.key).is_finite())


def _not_negative(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col(data.key).is_finite() & (pl.col(data.key) >= 0))


def _family_only_on_attacks(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select((pl.col("label").fill_null(0) == 1) == (pl.col("attack") != ""))


def _in_order(data: pa.PolarsData) -> pl.LazyFrame:
    later = pl.col("t_start").diff().fill_null(0.0) >= 0
    return data.lazyframe.select(later & (pl.col("t_end") >= pl.col("t_start")))


def _checks(name: str) -> list[pa.Check]:
    if name in ("t_start", "t_end"):
        return [pa.Check(_finite)]
    if name in MEASURES:
        return [pa.Check(_not_negative)]
    if name in ("sport", "dport"):
        return [pa.Check.in_range(-1, _MAX_PORT)]
    return [pa.Check.isin([0, 1])] if name == "label" else []


def flow_schema(own: tuple[str, ...]) -> pa.DataFrameSchema:
    """Strict: the common columns, then the data set's ``own`` (f32, finite), in this order and no others."""
    common = {
        name: pa.Column(kind, _checks(name), nullable=name in _NULLABLE) for name, kind in COLUMNS.items()
    }
    extra = {name: pa.Column(pl.Float32(), pa.Check(_finite)) for name in own}
    return pa.DataFrameSchema(
        {**common, **extra},
        checks=[
            pa.Check(_family_only_on_attacks, name="attack family exactly where label is 1"),
            pa.Check(_in_order, name="flows sorted by start, none ends before it starts"),
        ],
        strict=True,
        ordered=True,
    )


def validate(df: pl.DataFrame, *, place: str | None = None) -> pl.DataFrame:
    """Return ``df`` unchanged if it is a flow table. Raises SchemaMismatch naming the first offence."""
    own = tuple(name for name in df.columns if name.startswith((FEATURE, WITHHELD)))
    return frames.checked(df, flow_schema(own), "flow", place)


def content_hash(path: Path) -> str:
    """SHA-256 over what was measured, of a flow table on disk, a column and a piece at a time.

    Hosts, whose keys depend on a seed, and the place in the raw file are left out.
    """
    digest = hashlib.sha256()
    with pq.ParquetFile(path) as file:
        for name in ("t_start", "sport", "dport", "proto", "bytes", "packets", "duration_s", "label"):
            digest.update(name.encode())
            for batch in file.iter_batches(columns=[name]):
                column = pl.DataFrame(pl.from_arrow(pa_lib.Table.from_batches([batch])))[name]
                digest.update(column.fill_null(255).to_numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class FlowArrays:
    """One capture as NumPy arrays.

    Attributes:
        t: f64[n], s since the first flow. src, dst: u64[n] host keys. dport: i32[n]. proto: u8[n].
        measures_nM: f64, columns MEASURES, 0 where unknown.
        features_nK: f32, the ``x_`` columns. feature_names: their names without prefix.
        y: u8[n]. attack_code: i16[n], index into ``attack_names``, −1 benign.
    """

    t: NDArray[np.float64]
    src: NDArray[np.uint64]
    dst: NDArray[np.uint64]
    dport: NDArray[np.int32]
    proto: NDArray[np.uint8]
    measures_nM: NDArray[np.float64]
    features_nK: NDArray[np.float32]
    feature_names: tuple[str, ...]
    y: NDArray[np.uint8]
    attack_code: NDArray[np.int16]
    attack_names: list[str]

    def __len__(self) -> int:
        return len(self.t)


_PER_FLOW = ("t", "src", "dst", "dport", "proto", "measures_nM", "features_nK", "y", "attack_code")


def to_arrays(
    df: pl.DataFrame, *, start_s: float | None = None, attack_names: Sequence[str] | None = None
) -> FlowArrays:
    """Flow table of n rows with addresses → arrays.

    Args:
        df: a capture, or a part of one.
        start_s, attack_names: the capture's first start and families, for a part; by default those of ``df``.
    """
    if attack_names is None:
        attack_names = sorted(df.filter(pl.col("attack") != "")["attack"].unique().to_list())
    codes = {name: i for i, name in enumerate(attack_names)}
    own = [name for name in df.columns if name.startswith(FEATURE)]
    t = df["t_start"].to_numpy()
    first = start_s if start_s is not None else t[0] if len(t) else 0.0
    return FlowArrays(
        t=t - first,
        src=df["src"].to_numpy(),
        dst=df["dst"].to_numpy(),
        dport=df["dport"].to_numpy(),
        proto=df["proto"].to_numpy(),
        measures_nM=df.select(pl.col(name).fill_null(0.0) for name in MEASURES).to_numpy(),
        features_nK=df.select(own).to_numpy().astype(np.float32).reshape(df.height, len(own)),
        feature_names=tuple(name.removeprefix(FEATURE) for name in own),
        y=df["label"].fill_null(0).to_numpy(),
        attack_code=df["attack"].replace_strict(codes, default=-1, return_dtype=pl.Int16).to_numpy(),
        attack_names=list(attack_names),
    )


def rows(flows: FlowArrays, which: slice) -> FlowArrays:
    """Some flows of a capture, as views."""
    return replace(flows, **{name: getattr(flows, name)[which] for name in _PER_FLOW})


def joined(pieces: Sequence[FlowArrays]) -> FlowArrays:
    """Pieces of one capture, one after the other."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in _PER_FLOW}
    return replace(pieces[0], **columns)


def read(path: Path) -> pl.DataFrame:
    """Read and validate one capture's flows. Raises CaptureUnreadable or SchemaMismatch."""
    return validate(frames.stored(path, "flows"), place=path.name)
