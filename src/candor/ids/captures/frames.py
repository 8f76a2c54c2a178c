"""The one table every capture becomes: its schema, content hash, and the arrays that later stages read.

Legend: n frames of one capture, in the order they were recorded.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pandera.errors import SchemaError, SchemaErrors

from candor.errors import SchemaMismatch, StorageFull
from candor.ids.captures.row_groups import readable, row_groups

EXTENDED, REMOTE, ERROR, FD, BRS, ESI = 1, 2, 4, 8, 16, 32
_ALL_FLAGS = 63

#: Largest identifiers of the two CAN frame formats (ISO 11898-1: 11 and 29 bits).
MAX_STANDARD_ID, MAX_EXTENDED_ID = 0x7FF, 0x1FFF_FFFF
#: Longest payloads of classic CAN and CAN FD, in bytes.
MAX_CLASSIC_BYTES, MAX_FD_BYTES = 8, 64

COLUMNS: dict[str, pl.DataType] = {
    "timestamp": pl.Float64(),
    "id": pl.UInt32(),
    "data": pl.Binary(),
    "dlc": pl.UInt8(),
    "label": pl.UInt8(),
    "attack": pl.String(),
    "flags": pl.UInt8(),
    "channel": pl.String(),
}


def _payload_matches_dlc(data: pa.PolarsData) -> pl.LazyFrame:
    bodiless = (pl.col("flags") & (REMOTE | ERROR)) != 0
    return data.lazyframe.select(bodiless | (pl.col("data").bin.size() == pl.col("dlc")))


def _family_only_on_attacks(data: pa.PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select((pl.col("label").fill_null(0) == 1) == (pl.col("attack") != ""))


#: Strict: exactly these columns, these types, in this order.
#:
#: timestamp  s, as recorded (epoch or relative)
#: id         arbitration ID, 11 or 29 bits
#: data       payload, 0..64 bytes; empty for remote frames
#: dlc        payload length in bytes; for remote frames the requested length
#: label      0 benign, 1 attack, null unlabelled
#: attack     family name where label is 1, else ""
#: flags      EXTENDED | REMOTE | ERROR | FD | BRS | ESI
#: channel    bus interface as logged, "" where the format has none
FRAME_SCHEMA = pa.DataFrameSchema(
    {
        "timestamp": pa.Column(
            COLUMNS["timestamp"], pa.Check(lambda d: d.lazyframe.select(pl.col(d.key).is_finite()))
        ),
        "id": pa.Column(COLUMNS["id"], pa.Check.le(MAX_EXTENDED_ID)),
        "data": pa.Column(COLUMNS["data"]),
        "dlc": pa.Column(COLUMNS["dlc"], pa.Check.le(MAX_FD_BYTES)),
        "label": pa.Column(COLUMNS["label"], pa.Check.isin([0, 1]), nullable=True),
        "attack": pa.Column(COLUMNS["attack"]),
        "flags": pa.Column(COLUMNS["flags"], pa.Check.le(_ALL_FLAGS)),
        "channel": pa.Column(COLUMNS["channel"]),
    },
    checks=[
        pa.Check(_payload_matches_dlc, name="payload length equals dlc"),
        pa.Check(_family_only_on_attacks, name="attack family exactly where label is 1"),
    ],
    strict=True,
    ordered=True,
)


def is_frame_table(df: pl.DataFrame) -> bool:
    """What FRAME_SCHEMA says, as a few passes over arrays: a tenth of Pandera's time, which a whole import feels.

    It decides only that nothing is wrong; what is wrong, and where, Pandera says. A test holds the two together.
    """
    if list(df.schema.items()) != list(COLUMNS.items()):
        return False
    if any(df[name].null_count() for name in COLUMNS if name != "label"):
        return False
    label, flags, dlc = df["label"].fill_null(0).to_numpy(), df["flags"].to_numpy(), df["dlc"].to_numpy()
    bodiless = (flags & (REMOTE | ERROR)) != 0
    return bool(
        np.isfinite(df["timestamp"].to_numpy()).all()
        and (df["id"].to_numpy() <= MAX_EXTENDED_ID).all()
        and (dlc <= MAX_FD_BYTES).all()
        and (label <= 1).all()
        and (flags <= _ALL_FLAGS).all()
        and (bodiless | (_views(df["data"])["size"] == dlc)).all()
        and ((label == 1) == (df["attack"] != "").to_numpy()).all()
    )


def validate(df: pl.DataFrame, *, place: str | None = None) -> pl.DataFrame:
    """Return ``df`` unchanged if it is a frame table. Raises SchemaMismatch naming the first offence."""
    if is_frame_table(df):
        return df
    return checked(df, FRAME_SCHEMA, "frame", place)


def checked(df: pl.DataFrame, schema: pa.DataFrameSchema, what: str, place: str | None) -> pl.DataFrame:
    """Return ``df`` unchanged if it has the schema of a ``what`` table. Raises SchemaMismatch naming the first offence."""
    try:
        schema.validate(df)
    except (SchemaError, SchemaErrors) as e:
        first = str(e).strip().splitlines()[0].split(" DataFrameSchema ")[0]
        raise SchemaMismatch(
            f"not a {what} table: {first}", place=place, hint="Ingest the raw capture again."
        ) from e
    return df


def content_hash(df: pl.DataFrame) -> str:
    """SHA-256 over what was recorded (times, IDs, payloads, labels, flags), whatever the file format.

    The attack family and the channel are left out: they come from the catalogue or the logger's set-up, and a
    recording filed under two names is still one recording.
    """
    digest = hashlib.sha256()
    for name in ("timestamp", "id", "dlc", "flags"):
        digest.update(name.encode() + df[name].to_numpy().tobytes())
    # A null label must differ from 0 and 1.
    digest.update(b"label" + df["label"].fill_null(255).to_numpy().tobytes())
    sizes = df["data"].bin.size().cast(pl.UInt8).to_numpy()
    digest.update(b"data" + sizes.tobytes() + b"".join(df["data"].to_list()))
    return digest.hexdigest()


def content_hash_of_file(path: Path, *, unlabelled: int = 255) -> str:
    """As content_hash, of a frame table on disk, in bounded memory. "" without a file.

    ``unlabelled``: what a missing label counts as; 0 gives the hash the frames would have if they were benign.
    """
    if not path.is_file():
        return ""
    digest = hashlib.sha256()

    def column(name: str) -> Iterator[pl.Series]:
        return (part[name] for part in row_groups(path, "frames", [name]))

    for name in ("timestamp", "id", "dlc", "flags"):
        digest.update(name.encode())
        for part in column(name):
            digest.update(part.to_numpy().tobytes())
    digest.update(b"label")
    for part in column("label"):
        digest.update(part.fill_null(unlabelled).to_numpy().tobytes())
    digest.update(b"data")
    for part in column("data"):
        digest.update(part.bin.size().cast(pl.UInt8).to_numpy().tobytes())
    for part in column("data"):
        digest.update(b"".join(part.to_list()))
    return digest.hexdigest()


@contextmanager
def storage(path: Path) -> Iterator[Path]:
    """Make the folder of ``path`` and turn a full disk into StorageFull."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except (OSError, pl.exceptions.ComputeError) as e:
        if getattr(e, "errno", None) == errno.ENOSPC or "No space left" in str(e):
            raise StorageFull(
                "no space left while writing", place=path.name, hint="Free space, then run again."
            ) from e
        raise


def write(df: pl.DataFrame, path: Path) -> None:
    """Write any table as zstd Parquet. Raises StorageFull when the disk is."""
    with storage(path):
        df.write_parquet(path, compression="zstd")


def read(path: Path) -> pl.DataFrame:
    """Read and validate one capture's frames. Raises CaptureUnreadable or SchemaMismatch."""
    return validate(stored(path, "frames"), place=path.name)


def stored(path: Path, what: str) -> pl.DataFrame:
    """A table that ingest wrote. Raises CaptureUnreadable."""
    with readable(path, what):
        return pl.read_parquet(path)


@dataclass(frozen=True)
class FrameArrays:
    """One capture as NumPy arrays, row order kept.

    Attributes:
        t: f64[n], s relative to the first frame.
        id: u32[n], arbitration ID.
        data: u8[n, 8], the first 8 payload bytes, zero padded.
        dlc: u8[n], payload length in bytes.
        y: u8[n], 1 attack, 0 benign or unlabelled.
        attack_code: i16[n], index into ``attack_names``, -1 benign.
        attack_names: families that occur, sorted.
        flags: u8[n], see the constants of this module.
    """

    t: NDArray[np.float64]
    id: NDArray[np.uint32]
    data: NDArray[np.uint8]
    dlc: NDArray[np.uint8]
    y: NDArray[np.uint8]
    attack_code: NDArray[np.int16]
    attack_names: list[str]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.t)


_PER_FRAME = ("t", "id", "data", "dlc", "y", "attack_code", "flags")


def to_arrays(
    df: pl.DataFrame, *, start_s: float | None = None, attack_names: Sequence[str] | None = None
) -> FrameArrays:
    """Frame table of n rows → arrays.

    Args:
        df: a capture, or a part of one.
        start_s, attack_names: the capture's first timestamp and families, for a part; by default those of ``df``.
    """
    names = list(attack_names) if attack_names is not None else _attack_names(df)
    code = df["attack"].replace_strict(
        {name: i for i, name in enumerate(names)}, default=-1, return_dtype=pl.Int16
    )
    t = df["timestamp"].to_numpy()
    first = start_s if start_s is not None else t[0] if len(t) else 0.0
    return FrameArrays(
        t=t - first,
        id=df["id"].to_numpy(),
        data=first_bytes(df["data"]),
        dlc=df["dlc"].to_numpy(),
        y=df["label"].fill_null(0).to_numpy(),
        attack_code=code.to_numpy(),
        attack_names=names,
        flags=df["flags"].to_numpy(),
    )


def _attack_names(df: pl.DataFrame) -> list[str]:
    return sorted(df.filter(pl.col("attack") != "")["attack"].unique().to_list())


def rows(frames: FrameArrays, which: Any) -> FrameArrays:
    """Some rows of a capture: views where ``which`` is a slice, copies where it is an index or a mask."""
    return replace(frames, **{name: getattr(frames, name)[which] for name in _PER_FRAME})


def bus_frames(frames: FrameArrays) -> NDArray[np.int64]:
    """Rows that are no error frames: the frames that windows are cut from. Error frames carry no arbitration ID."""
    return np.flatnonzero((frames.flags & ERROR) == 0)


def without_errors(frames: FrameArrays) -> FrameArrays:
    """The bus frames; no copy where there is no error frame."""
    any_flag = int(np.bitwise_or.reduce(frames.flags)) if len(frames) else 0
    return rows(frames, bus_frames(frames)) if any_flag & ERROR else frames


def joined(pieces: Sequence[FrameArrays]) -> FrameArrays:
    """Pieces of one capture, one after the other."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in pieces]) for name in _PER_FRAME
    }
    return replace(pieces[0], **columns)


#: What Arrow's binary views (its columnar format, version 1.4) hold of an element of up to 12 bytes: its size, and itself,
#: zero padded. Of a longer one the first four bytes and where the rest lies.
_VIEW = np.dtype({"names": ["size", "word"], "formats": ["<i4", "<u8"], "offsets": [0, 4], "itemsize": 16})
_INLINE_BYTES = 12


def _views(data: pl.Series) -> NDArray[Any]:
    """The views of a binary series of n payloads: a look at its memory, which is what an expression's result costs in calls."""
    views: Any = data.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    buffer = views.buffers()[1]
    if not len(data) or buffer is None:
        return np.empty(0, _VIEW)
    return np.frombuffer(buffer, _VIEW)[views.offset : views.offset + len(data)]


def first_bytes(data: pl.Series) -> NDArray[np.uint8]:
    """Binary series of n payloads → u8[n, 8]: their first bytes, zero padded on the right."""
    views = _views(data)
    if views["size"].max(initial=0) > _INLINE_BYTES:
        views = _views(data.bin.slice(0, MAX_CLASSIC_BYTES))
    return views["word"].copy().view(np.uint8).reshape(len(data), MAX_CLASSIC_BYTES)


class Frames:
    """Reading published frames: the door other stages use."""

    @staticmethod
    def table(path: Path) -> pl.DataFrame:
        """The validated frame table of one capture."""
        return read(path)

    @staticmethod
    def arrays(path: Path) -> FrameArrays:
        """One capture as arrays (see FrameArrays), read by row groups: as a table it takes several times their memory."""
        with readable(path, "frames"):
            num_rows = pq.read_metadata(path).num_rows
        if not num_rows:
            return to_arrays(read(path))
        parts = (validate(part, place=path.name) for part in row_groups(path, "frames"))
        return _collected((part for part in parts if len(part)), num_rows)


def _collected(parts: Iterator[pl.DataFrame], num_rows: int) -> FrameArrays:
    """Tables of one capture, ``num_rows`` together, as arrays that each of them is copied into."""
    columns: dict[str, Any] = {}
    families: list[tuple[slice, list[str]]] = []
    at, start_s = 0, None
    for table in parts:
        start_s = float(table["timestamp"][0]) if start_s is None else start_s
        part = to_arrays(table, start_s=start_s)
        here = slice(at, at + len(part))
        for name in _PER_FRAME:
            own = getattr(part, name)
            columns.setdefault(name, np.empty((num_rows, *own.shape[1:]), own.dtype))[here] = own
        families.append((here, part.attack_names))
        at = here.stop
    names = sorted({name for _, own in families for name in own})
    for here, own in families:  # -1, benign, takes the last.
        code = np.array([*(names.index(name) for name in own), -1], np.int16)
        columns["attack_code"][here] = code[columns["attack_code"][here]]
    return FrameArrays(**columns, attack_names=names)
