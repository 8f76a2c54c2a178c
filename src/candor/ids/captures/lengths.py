"""Lengths of CAN frames: codes of CAN FD, and declared lengths that have several readings."""

from __future__ import annotations

from typing import Final

import polars as pl

#: Length code → bytes (ISO 11898-1).
BYTES: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


def code(text: pl.Expr) -> pl.Expr:
    """One hexadecimal digit, the code of a remote frame's length, as bytes of classic CAN (never over 8)."""
    value = text.str.to_integer(base=16, strict=False)
    return pl.when(value <= 15).then(pl.min_horizontal(value, pl.lit(8)))


def of_code(number: pl.Expr) -> pl.Expr:
    """Bytes of a length code as number; null where it is none."""
    return number.replace_strict(dict(enumerate(BYTES)), default=None, return_dtype=pl.Int64)


def agreed(declared: pl.Series, data: pl.Series, *, decimal: bool) -> tuple[pl.Series, pl.Series]:
    """Hexadecimal payload of blank separated bytes, and whether the declared length agrees with their number.

    It may be decimal or hexadecimal, bytes or a code; eight bytes may carry a raw code of 9 to 15.
    """
    tokens = (
        data.fill_null("").str.strip_chars().str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    )
    count = tokens.list.len().cast(pl.Int64)
    if decimal:
        value = tokens.list.eval(pl.element().str.to_integer(strict=False))
        fits = (
            tokens.list.len()
            == value.list.eval(pl.element().filter(pl.element().is_between(0, 255))).list.len()
        )
        names = pl.Series([f"{i:02X}" for i in range(256)])
        payload = value.list.eval(
            pl.element().replace_strict(pl.Series(range(256), dtype=pl.Int64), names, default="")
        ).list.join("")
    else:
        fits = (
            tokens.list.eval(pl.element().filter(pl.element().str.len_chars() == 2)).list.len()
            == tokens.list.len()
        )
        payload = tokens.list.join("")
    table = pl.DataFrame({"declared": declared, "count": count, "fits": fits})
    ten = pl.col("declared").str.to_integer(base=10, strict=False).cast(pl.Int64)
    sixteen = pl.col("declared").str.to_integer(base=16, strict=False).cast(pl.Int64)
    n = pl.col("count")
    ways = (ten == n, sixteen == n, of_code(ten) == n, of_code(sixteen) == n)
    raw_code = (n == 8) & (ten.is_between(9, 15) | sixteen.is_between(9, 15))
    right = pl.any_horizontal(*(way.fill_null(False) for way in ways), raw_code.fill_null(False))
    return payload, table.select(pl.col("fits") & right).to_series()
