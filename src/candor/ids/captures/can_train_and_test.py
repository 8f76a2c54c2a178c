"""can-train-and-test: CSV ``timestamp,arbitration_id,data_field,attack`` and the Parquet mirrors of it.

Lampe & Meng, "can-train-and-test: A curated CAN dataset for automotive intrusion detection" (Computers & Security,
2024). No length column: the payload's digits are the length. No remote or error frames.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

import polars as pl

from candor.errors import SchemaMismatch
from candor.ids.captures import parquet, text
from candor.ids.captures.format import Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "can_train_and_test"
COLUMNS: Final = ("timestamp", "arbitration_id", "data_field", "attack")
PARQUET_COLUMNS: Final = {"timestamp": "number", "id": "integer", "data_field": "text", "label": "truth"}
LABELS: Final[dict[str | int, int]] = {"0": 0, "1": 1}


def sniff(head: list[str]) -> float:
    """Share of the first lines that look like this format; the header decides."""
    return 1.0 if head and set(_header(head[0])) >= {"arbitration_id", "data_field"} else 0.0


def open_(head: pl.DataFrame, place: str) -> Opened:
    """Reader of a CSV below its header. Raises SchemaMismatch for missing columns."""
    header = _header(head["raw"][0]) if head.height else []
    missing = [name for name in COLUMNS if name not in header]
    if head.height and missing:
        raise SchemaMismatch(
            f"columns {', '.join(header)} lack {', '.join(missing)}",
            place=place,
            hint=f"Expected {','.join(COLUMNS)}.",
        )
    return Opened(
        lambda table: _read(table, header),
        header_lines=int(head["line"][0]) if head.height else 0,
        fast="can_train_and_test" if tuple(header) == COLUMNS else "",
    )


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows of a Parquet mirror. Raises SchemaMismatch for wrong columns, CaptureUnreadable."""
    return parquet.blocks(stream, place, PARQUET_COLUMNS, _convert)


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


def _read(table: pl.DataFrame, header: list[str]) -> RawRows:
    rows = table.with_columns(fields=pl.col("raw").str.split(","))

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


def _convert(table: pl.DataFrame) -> RawRows:
    return RawRows(
        table.select(
            "line",
            broken=pl.lit(False),
            t=pl.col("timestamp").cast(pl.Float64),
            id=pl.col("id").cast(pl.Int64, strict=False),
            data="data_field",
            label=pl.col("label").cast(pl.Int64, strict=False).cast(pl.String),
        ),
        LABELS,
    )
