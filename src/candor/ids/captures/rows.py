"""Checks that all text and Parquet formats share: raw fields → valid frames, and the rest with a reason.

A reader only splits lines into fields; what a valid time, ID, payload, length and label is, is said here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from candor.ids.captures import frames as fr
from candor.ids.captures import quarantine
from candor.ids.captures.clock import Clock

_HEX = r"^[0-9A-Fa-f]*$"


@dataclass(frozen=True)
class RawRows:
    """Fields of a raw capture, before any check.

    Attributes:
        table: one row per non-blank line, in file order. Required columns: line i64, broken bool (true where the
            line lacks the format's layout), t (str or f64), id (hex str or integer), data (hex str).
            Optional: raw str, dlc, label, family (attack family where label is 1), channel str, and bool extended,
            remote, error, fd, brs, esi, and other (a record that is no CAN frame).
        labels: raw label → 0 or 1; None where the format has no labels.
    """

    table: pl.DataFrame
    labels: Mapping[str | int, int] | None


@dataclass(frozen=True)
class Checked:
    """Rows after every check that needs no other row.

    Attributes:
        frames: columns line and raw (null where the reader kept none), then those of a frame table.
        quarantined: see quarantine.SCHEMA.
    """

    frames: pl.DataFrame
    quarantined: pl.DataFrame


@dataclass(frozen=True)
class Parsed:
    """Valid frames (label set, attack family still "attack"), quarantined rows, and small steps back in time."""

    frames: pl.DataFrame
    quarantined: pl.DataFrame
    time_reversals: int

    @property
    def rows(self) -> int:
        """Non-blank rows read: every one is a frame or in quarantine."""
        return self.frames.height + self.quarantined.height


def decode(raw: RawRows, *, max_backstep_s: float) -> Parsed:
    """Check every field of every row and sort rows into frames and quarantine."""
    checked = check(raw)
    clock = Clock(max_backstep_s)
    frames, late = clock.push(checked.frames, final=True)
    quarantined = pl.concat([checked.quarantined, late]).sort("line") if late.height else checked.quarantined
    return Parsed(frames.select(list(fr.COLUMNS)), quarantined, clock.reversals)


def check(raw: RawRows) -> Checked:
    """Check every field of every row, each row by itself."""
    judged = _typed(raw).with_columns(reason=_reason(raw.labels is not None))
    good = judged.filter(pl.col("reason").is_null())
    bad = judged.filter(pl.col("reason").is_not_null())
    return Checked(_frames(good), _quarantined(bad))


def _typed(raw: RawRows) -> pl.DataFrame:
    """Add the typed value of every field, null where it has none."""
    table = raw.table
    absent = {"raw": None, "dlc": None, "label": None, "family": None, "channel": ""}
    flags = ("extended", "remote", "error", "fd", "brs", "esi", "other")
    table = table.with_columns(
        *(pl.lit(v, dtype=pl.String).alias(c) for c, v in absent.items() if c not in table.columns),
        *(pl.lit(False).alias(c) for c in flags if c not in table.columns),
    )
    text_id = table.schema["id"] == pl.String
    id_value = pl.col("id").str.to_integer(base=16, strict=False, dtype=pl.Int64) if text_id else pl.col("id")
    # More digits than i64 holds parse to null; they are hexadecimal all the same, and far over 29 bits.
    id_hex = (
        (pl.col("id").str.contains(_HEX) & (pl.col("id") != "")) if text_id else pl.col("id").is_not_null()
    )
    columns = {
        "timestamp": pl.col("t").cast(pl.Float64, strict=False),
        "id_value": id_value.cast(pl.Int64, strict=False),
        "id_hex": id_hex.fill_null(False),
        "dlc_value": pl.col("dlc").cast(pl.Int64, strict=False),
        "digits": pl.col("data").str.len_chars().cast(pl.Int64),
    }
    table = table.with_columns(**columns)
    if raw.labels is not None:
        label = pl.col("label").replace_strict(dict(raw.labels), default=None, return_dtype=pl.UInt8)
        return table.with_columns(label_value=label)
    return table.with_columns(label_value=pl.lit(None, dtype=pl.UInt8))


def _reason(labelled: bool) -> pl.Expr:
    """Name of the first check a row fails, null where it passes all."""
    checks = {
        "not_utf8": pl.col("raw").str.contains("\ufffd", literal=True),
        "not_a_frame": pl.col("other"),
        "malformed": pl.col("broken"),
        "time_not_a_number": pl.col("timestamp").is_null(),
        "time_not_finite": ~pl.col("timestamp").is_finite(),
        "id_not_hex": ~pl.col("id_hex"),
        "id_over_29_bits": ~pl.col("id_value").is_between(0, fr.MAX_EXTENDED_ID).fill_null(False),
        "payload_not_hex": pl.col("data").is_null() | ~pl.col("data").str.contains(_HEX),
        "payload_odd_hex": pl.col("digits") % 2 == 1,
        "payload_over_64_bytes": pl.col("digits") > 2 * fr.MAX_FD_BYTES,
        "dlc_not_a_number": pl.col("dlc").is_not_null() & pl.col("dlc_value").is_null(),
        "dlc_mismatch": pl.when(pl.col("remote"))
        .then(
            (pl.col("digits") > 0) | (pl.col("dlc_value") > fr.MAX_CLASSIC_BYTES) | (pl.col("dlc_value") < 0)
        )
        .otherwise(pl.col("dlc_value") != pl.col("digits") // 2),
    }
    if labelled:
        checks["label_unknown"] = pl.col("label_value").is_null()
    return pl.coalesce(
        *(pl.when(failed.fill_null(False)).then(pl.lit(name)) for name, failed in checks.items()),
        pl.lit(None, dtype=pl.String),
    )


def _frames(good: pl.DataFrame) -> pl.DataFrame:
    length = pl.col("digits") // 2
    dlc = pl.when(pl.col("remote")).then(pl.col("dlc_value").fill_null(0)).otherwise(length)
    flags = (
        (pl.col("extended") | (pl.col("id_value") > fr.MAX_STANDARD_ID)).cast(pl.UInt8) * fr.EXTENDED
        + pl.col("remote").cast(pl.UInt8) * fr.REMOTE
        + pl.col("error").cast(pl.UInt8) * fr.ERROR
        + (pl.col("fd") | (length > fr.MAX_CLASSIC_BYTES)).cast(pl.UInt8) * fr.FD
        + pl.col("brs").cast(pl.UInt8) * fr.BRS
        + pl.col("esi").cast(pl.UInt8) * fr.ESI
    )
    family = pl.col("family").fill_null("attack")
    attack = pl.when(pl.col("label_value") == 1).then(family).otherwise(pl.lit(""))
    return good.select(
        "line",
        "raw",
        timestamp="timestamp",
        id=pl.col("id_value").cast(pl.UInt32),
        data=pl.col("data").str.decode("hex"),
        dlc=dlc.cast(pl.UInt8),
        label="label_value",
        attack=attack,
        flags=flags.cast(pl.UInt8),
        channel=pl.col("channel").fill_null(""),
    )


def _quarantined(bad: pl.DataFrame) -> pl.DataFrame:
    fields = pl.concat_str(
        [pl.col(c).cast(pl.String).fill_null("") for c in ("t", "id", "data", "label")], separator=","
    )
    raw = pl.coalesce("raw", fields).str.slice(0, quarantine.RAW_CHARS)
    return bad.select(line=pl.col("line").cast(pl.Int64), reason="reason", raw=raw)
