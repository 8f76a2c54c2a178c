"""Why windows were flagged, or not."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from candor.config.base import Config, Runtime
from candor.ids.config.types import PositiveInt, Share


class ExplainTask(Config):
    """Explain the windows of one variant and seed."""

    variant: str
    seed: int
    #: Whose decisions are explained: they pick the windows, and their kind (right, false alarm, missed).
    detector: str = "fusion"
    #: (capture, window) to explain; without any, the ``top`` most telling ones.
    windows: tuple[tuple[str, int], ...] = ()
    top: PositiveInt = 20
    #: Steps and learning rate of GNNExplainer.
    steps: PositiveInt = 150
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    #: What taking all edges, or all features, away costs while masks are sought, in units of the whole decision: the more,
    #: the fewer are named. Chosen on the synthetic captures, out of 0.3, 1 and 3.
    edge_cost: Annotated[float, Field(gt=0)] = 1.0
    feature_cost: Annotated[float, Field(gt=0)] = 3.0
    #: Share of a window's edges, of its nodes, and of its node features, that fidelity drops.
    dropped: Annotated[Share, Field(gt=0)] = 0.15
    #: Random drops that the named ones are compared with.
    random_drops: PositiveInt = 20
    #: DBC file for names; its digest is what counts.
    dbc: Annotated[str, Runtime] = ""
    dbc_sha256: str = ""
    device: Annotated[Literal["auto", "cpu", "cuda"], Runtime] = "auto"
