"""Which windows are worth explaining: the clearest alarms, the worst false ones, the events that were missed."""

from __future__ import annotations

from typing import Final

import polars as pl

from candor.errors import DataError, NotFound
from candor.ids.config import ExplainTask

#: Kinds of a window, by truth and decision; a missed one counts first where its whole event was missed.
KINDS: Final = ("true alarm", "false alarm", "missed", "quiet")


def kinds(predictions: pl.DataFrame) -> pl.DataFrame:
    """The predictions with a column ``kind``."""
    truth, flagged = pl.col("y") == 1, pl.col("prediction") == 1
    return predictions.with_columns(
        pl.when(truth & flagged)
        .then(pl.lit(KINDS[0]))
        .when(flagged)
        .then(pl.lit(KINDS[1]))
        .when(truth)
        .then(pl.lit(KINDS[2]))
        .otherwise(pl.lit(KINDS[3]))
        .alias("kind")
    )


def choose(predictions: pl.DataFrame, events: pl.DataFrame, config: ExplainTask) -> pl.DataFrame:
    """Rows of the windows to explain, with ``kind``; in the order of KINDS, the most telling first.

    Args:
        predictions: lake PREDICTIONS of every detector. events: capture, attack, t_start, t_end.

    Raises:
        DataError: the detector was not judged. NotFound: a window that was asked for is none of the test windows.
    """
    own = kinds(predictions.filter(detector=config.detector, variant=config.variant, seed=config.seed))
    if own.is_empty():
        known = predictions.select("detector", "variant", "seed").unique().sort("detector", "variant", "seed")
        raise DataError(
            f"no predictions of {config.detector} {config.variant}, seed {config.seed}",
            hint=f"Judged: {'; '.join(f'{d} {v} {s}' for d, v, s in known.iter_rows())}.",
        )
    if config.windows:
        return _asked(own, config)
    false = own.filter(kind=KINDS[1]).sort("score", descending=True)
    missed = _missed(own, events)
    third = max(1, config.top // 3)
    taken = [false.head(third), missed.head(third)]
    # Of one window there is no third: the clearest alarm, else what there is. A negative head would leave out the last.
    left = 1 if config.top == 1 else config.top - sum(map(len, taken))
    # One of the best of every family before the second best of any.
    alarms = own.filter(kind=KINDS[0]).sort("score", descending=True)
    alarms = alarms.with_columns(pl.int_range(pl.len()).over("scenario", "attack").alias("place"))
    first = alarms.sort("place", "score", descending=[False, True]).drop("place").head(left)
    return pl.concat([first, *taken]).head(config.top)


def _missed(own: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The loudest window of every event without an alarm, then single missed windows, the quietest first."""
    missed = own.filter(kind=KINDS[2])
    loudest = []
    for event in events.iter_rows(named=True):
        inside = own.filter(
            pl.col("capture") == event["capture"],
            pl.col("t0") <= event["t_end"],
            pl.col("t1") >= event["t_start"],
        )
        if len(inside) and inside["prediction"].sum() == 0:
            loudest.append(inside.filter(y=1).sort("score", descending=True).head(1))
    whole = pl.concat([missed.head(0), *loudest]).sort("score")
    # One window may be the loudest of several events that overlap it.
    whole = whole.unique(["capture", "window"], maintain_order=True)
    rest = missed.join(whole.select("capture", "window"), on=["capture", "window"], how="anti").sort("score")
    return pl.concat([whole, rest])


def _asked(own: pl.DataFrame, config: ExplainTask) -> pl.DataFrame:
    parts = []
    for capture, window in config.windows:
        row = own.filter(capture=capture, window=window)
        if row.is_empty():
            here = own.filter(capture=capture)["window"]
            known = ", ".join(own["capture"].unique().sort().to_list())
            raise NotFound(
                f"no test window {capture}:{window}",
                place="--window",
                hint=f"{capture} has {here.min()!r} to {here.max()!r}."
                if len(here)
                else f"Captures: {known}.",
            )
        parts.append(row.head(1))
    return pl.concat(parts)
