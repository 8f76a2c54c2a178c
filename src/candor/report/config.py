"""Config of the report stage. Here and not with the workloads: a report knows none of them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from candor.config.base import Config

#: Window metrics that the printed table can show (candor.learn.metrics.METRICS).
ShownMetric: TypeAlias = Literal["f1", "macro_f1", "precision", "recall", "fpr", "mcc", "auroc", "auc_pr"]
#: Of the printed table, in their order, unless a data set needs others.
SHOWN: tuple[ShownMetric, ...] = ("f1", "auroc", "fpr")


class ReportConfig(Config):
    """The page that a run ends with."""

    title: str = ""
    #: Detectors of the printed table, beside the specialists, baselines and controls; the page shows all. Empty: all.
    headline: tuple[str, ...] = ()
    #: Window metrics of the table, left of the event columns.
    metrics: Annotated[tuple[ShownMetric, ...], Field(min_length=1)] = SHOWN
    #: Bins of a score histogram.
    bins: Annotated[int, Field(gt=0, le=500)] = 48
