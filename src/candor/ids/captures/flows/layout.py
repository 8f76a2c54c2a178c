"""What one family of flow files looks like: which column means what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from candor.ids.captures.flows.fields import number


@dataclass(frozen=True)
class Layout:
    """One family of flow files, as expressions over its normalised columns.

    Attributes:
        title: what the files are called, for people.
        required: columns that a file of this family has; the family with most of them wins.
        optional: further columns that the expressions read; null where a file lacks them.
        t_start: s; None where the format has no times and file order stands in.
        src, dst: address columns; None where there are none.
        sport, dport, proto: expressions, i64.
        measures: those of schema.MEASURES that the format knows; null means unreadable, see ``may_lack``.
        may_lack: measures that may be null without spoiling the row.
        label: 0, 1 or null; ``family``: name of the attack.
        labelled: column without which a file has no labels; "" where labels are part of the format.
        features: the data set's own numbers that models may see, ``withheld`` those they may not, with the reason.
        headerless: column names of files that come without a header.
    """

    name: str
    title: str
    required: tuple[str, ...]
    t_start: pl.Expr | None
    src: str | None
    dst: str | None
    sport: pl.Expr
    dport: pl.Expr
    proto: pl.Expr
    measures: Mapping[str, pl.Expr]
    label: pl.Expr
    family: pl.Expr
    optional: tuple[str, ...] = ()
    may_lack: frozenset[str] = frozenset()
    labelled: str = ""
    features: tuple[str, ...] = ()
    withheld: Mapping[str, str] = field(default_factory=dict)
    headerless: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return tuple(dict.fromkeys((*self.required, *self.optional, *self.features, *self.withheld)))


#: Constant for what a format does not tell.
UNKNOWN: Final = pl.lit(None, pl.Float64)
NO_PORT: Final = pl.lit(-1, pl.Int64)


def scaled(name: str, factor: float) -> pl.Expr:
    """A column in another unit."""
    return number(name) * factor


def both(first: pl.Expr, second: pl.Expr) -> pl.Expr:
    """Sum of both directions; null if either is unknown."""
    return first + second
