"""Config of the report stage. Here and not with the workloads: a report knows none of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from candor.config.base import Config


class ReportConfig(Config):
    """The page that a run ends with."""

    title: str = ""
    #: Detectors of the printed table, beside the specialists, baselines and controls; the page shows all. Empty: all.
    headline: tuple[str, ...] = ()
    #: Bins of a score histogram.
    bins: Annotated[int, Field(gt=0, le=500)] = 48
