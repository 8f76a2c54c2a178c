"""What python-can's CSVWriter writes: ``timestamp,arbitration_id,extended,remote,error,dlc,data``.

``1483389946.197,0xdadada,1,0,0,6,WzQyLCA5XQ==``: ID in hexadecimal, data in base64, dlc in bytes. CAN FD is not kept by
the format. No labels.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.ids.captures.format import Format, Opened
from candor.ids.captures.rows import RawRows

NAME: Final = "python_can_csv"
HEADER: Final = "timestamp,arbitration_id,extended,remote,error,dlc,data"

_FIELDS = HEADER.split(",")


def sniff(head: list[str]) -> float:
    """The header decides."""
    return float(bool(head) and head[0].replace(" ", "") == HEADER)


def open_(head: pl.DataFrame, place: str) -> Opened:
    """A reader of the rows below the header; a log that was appended to has none."""
    named = head.height > 0 and head["raw"][0].replace(" ", "") == HEADER
    return Opened(_read, header_lines=int(head["line"][0]) if named else 0, fast=NAME)


def _read(table: pl.DataFrame) -> RawRows:
    fields = table.with_columns(fields=pl.col("raw").str.split(","))

    def field(name: str) -> pl.Expr:
        return pl.col("fields").list.get(_FIELDS.index(name), null_on_oob=True).str.strip_chars()

    flags = [field(name) for name in ("extended", "remote", "error")]
    known = pl.all_horizontal(flag.is_in(pl.Series(["0", "1"]).implode()).fill_null(False) for flag in flags)
    extended, remote, error = ((flag == "1").fill_null(False) for flag in flags)
    return RawRows(
        fields.select(
            "line",
            "raw",
            broken=(pl.col("fields").list.len() != len(_FIELDS)) | ~known,
            t=field("timestamp"),
            id=field("arbitration_id").str.replace("^0[xX]", ""),
            # What is not base64 becomes null, as what is not hexadecimal does elsewhere.
            data=field("data").str.decode("base64", strict=False).bin.encode("hex"),
            dlc=field("dlc"),
            extended=extended,
            remote=remote,
            error=error,
        ),
        None,
    )


FORMAT: Final = Format(NAME, "python-can CSV", ".csv", sniff=sniff, open=open_)
