"""can-train-and-test: CSV ``timestamp,arbitration_id,data_field,attack`` and the Parquet mirrors of it.

Lampe & Meng, "can-train-and-test: A curated CAN dataset for automotive intrusion detection" (Computers & Security,
2024). No length column: the payload's digits are the length. No remote or error frames.
"""

from __future__ import annotations

import io
from typing import Final

import polars as pl

from candor.errors import CaptureUnreadable, SchemaMismatch
from candor.ids.captures import files, text
from candor.ids.captures.rows import RawRows

NAME: Final = "can_train_and_test"
COLUMNS: Final = ("timestamp", "arbitration_id", "data_field", "attack")
PARQUET_COLUMNS: Final = ("timestamp", "id", "data_field", "label")
PARQUET_MAGIC: Final = b"PAR1"
LABELS: Final[dict[str | int, int]] = {"0": 0, "1": 1}


def sniff(head: list[str]) -> float:
    """Share of the first lines that look like this format; the header decides."""
    return 1.0 if head and set(_header(head[0])) >= {"arbitration_id", "data_field"} else 0.0


def read(content: bytes, place: str) -> RawRows:
    """CSV or Parquet bytes → raw rows. Raises SchemaMismatch for wrong columns, CaptureUnreadable."""
    return _read_parquet(content, place) if content.startswith(PARQUET_MAGIC) else _read_csv(content, place)


def write(table: pl.DataFrame) -> bytes:
    """Frames → CSV with CRLF, as published. Raises DataError for frames the format cannot hold."""
    _check(table)
    columns = [text.time_text(), text.id_text(table, 3, upper=True), text.payload_text(upper=True)]
    line = pl.concat_str([*columns, pl.col("label").cast(pl.String)], separator=",")
    return text.join(line, table, header=",".join(COLUMNS), newline="\r\n")


def write_parquet(table: pl.DataFrame, source_file: str = "") -> bytes:
    """Frames → Parquet with the mirrors' columns."""
    _check(table)
    buffer = io.BytesIO()
    table.select(
        "timestamp",
        "id",
        data_field=text.payload_text(upper=True),
        label="label",
        source_file=pl.lit(source_file),
    ).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _check(table: pl.DataFrame) -> None:
    text.refuse_unless_plain(table, NAME)
    text.refuse(table, pl.col("label").is_null(), "unlabelled", NAME)


def _header(line: str) -> list[str]:
    return [name.strip() for name in line.split(",")]


def _read_csv(content: bytes, place: str) -> RawRows:
    table = files.lines(content)
    header = _header(table["raw"][0]) if table.height else []
    missing = [name for name in COLUMNS if name not in header]
    if table.height and missing:
        raise SchemaMismatch(
            f"columns {', '.join(header)} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {','.join(COLUMNS)}.",
        )
    rows = table.slice(1).with_columns(fields=pl.col("raw").str.split(","))

    def field(name: str) -> pl.Expr:
        at = header.index(name) if name in header else 0
        return pl.col("fields").list.get(at, null_on_oob=True).str.strip_chars()

    return RawRows(
        rows.select(
            "line",
            "raw",
            broken=pl.col("fields").list.len() != len(header),
            t=field("timestamp"),
            id=field("arbitration_id"),
            data=field("data_field"),
            label=field("attack"),
        ),
        LABELS,
    )


def _read_parquet(content: bytes, place: str) -> RawRows:
    try:
        table = pl.read_parquet(io.BytesIO(content))
    except (OSError, pl.exceptions.PolarsError) as e:
        raise CaptureUnreadable(
            f"Parquet cannot be read: {e}", place=place, hint="Fetch the file again."
        ) from e
    missing = [name for name in PARQUET_COLUMNS if name not in table.columns]
    if missing:
        raise SchemaMismatch(
            f"columns {', '.join(table.columns)} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {', '.join(PARQUET_COLUMNS)}.",
        )
    types = table.schema
    for name, ok in (
        ("timestamp", types["timestamp"].is_numeric()),
        ("id", types["id"].is_integer()),
        ("data_field", types["data_field"] == pl.String),
        ("label", types["label"].is_numeric() or types["label"] == pl.Boolean),
    ):
        if not ok:
            raise SchemaMismatch(f"column '{name}' has type {types[name]}", place=place)
    return RawRows(
        table.with_row_index("line", offset=1).select(
            pl.col("line").cast(pl.Int64),
            broken=pl.lit(False),
            t=pl.col("timestamp").cast(pl.Float64),
            id=pl.col("id").cast(pl.Int64, strict=False),
            data="data_field",
            label=pl.col("label").cast(pl.Int64, strict=False).cast(pl.String),
        ),
        LABELS,
    )
