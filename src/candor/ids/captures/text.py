"""Writing frames as text, a column at a time. Used by the format writers."""

from __future__ import annotations

import polars as pl

from candor.errors import DataError
from candor.ids.captures import frames as fr


def time_text() -> pl.Expr:
    """``timestamp`` with six decimals: what every logger of these formats prints, exact to the microsecond."""
    micros = (pl.col("timestamp").abs() * 1e6).round().cast(pl.Int64)
    sign = pl.when((pl.col("timestamp") < 0) & (micros > 0)).then(pl.lit("-")).otherwise(pl.lit(""))
    fraction = (micros % 1_000_000).cast(pl.String).str.zfill(6)
    return pl.concat_str([sign, (micros // 1_000_000).cast(pl.String), pl.lit("."), fraction])


def id_text(table: pl.DataFrame, digits: int, *, upper: bool) -> pl.Expr:
    """``id`` in hexadecimal, zero padded to ``digits``. Formats each distinct ID once, not each row."""
    kind = "X" if upper else "x"
    names = {i: f"{i:0{digits}{kind}}" for i in table["id"].unique().to_list()}
    return pl.col("id").replace_strict(names, return_dtype=pl.String)


def payload_text(*, upper: bool, separator: str = "") -> pl.Expr:
    """``data`` in hexadecimal, each byte followed by ``separator``."""
    digits = pl.col("data").bin.encode("hex")
    digits = digits.str.to_uppercase() if upper else digits
    return digits.str.replace_all("(..)", "${1}" + separator) if separator else digits


def join(line: pl.Expr, table: pl.DataFrame, *, header: str = "", newline: str = "\n") -> bytes:
    """One text line per row, each ended by ``newline``."""
    rows = table.select(line.alias("line"))["line"].to_list()
    return "".join(text + newline for text in ([header] if header else []) + rows).encode()


def refuse(table: pl.DataFrame, offending: pl.Expr, what: str, format_name: str) -> None:
    """Raise DataError if any row is ``offending``: a format must not silently drop what it cannot hold."""
    count = table.filter(offending).height
    if count:
        raise DataError(
            f"{count} frames are {what}, which format '{format_name}' cannot hold",
            hint="Write candump, which holds every frame.",
        )


def has_flag(mask: int) -> pl.Expr:
    """Whether any bit of ``mask`` is set in ``flags``."""
    return (pl.col("flags") & mask) != 0


def refuse_unless_plain(table: pl.DataFrame, format_name: str, *, remote: bool = False) -> None:
    """Refuse frames whose flags cannot be told from ID and length alone; ``remote`` frames pass if held."""
    if not remote:
        refuse(table, has_flag(fr.REMOTE), "remote", format_name)
    refuse(table, has_flag(fr.ERROR), "error frames", format_name)
    refuse(table, has_flag(fr.BRS | fr.ESI), "FD frames with bit-rate switch or error state", format_name)
    refuse(table, has_flag(fr.FD) & (pl.col("dlc") <= fr.MAX_CLASSIC_BYTES), "short FD frames", format_name)
    low_extended = has_flag(fr.EXTENDED) & (pl.col("id") <= fr.MAX_STANDARD_ID)
    refuse(table, low_extended, "extended frames with an 11-bit ID", format_name)
