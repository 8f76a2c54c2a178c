"""Configs of flow captures. Apart from ``ids/config.py``, which holds those of the bus and of both domains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from candor.config.base import Config, Runtime

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FlowFile(Config):
    """One raw file."""

    path: Annotated[str, Runtime]  # Where it lies today; its content is what counts.
    sha256: str


class FlowSource(Config):
    """One capture of flows: some raw files, joined and sorted by time, or a stretch of them."""

    #: Names files and table rows: letters, digits, ``.``, ``_``, ``-``.
    capture: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    files: Annotated[tuple[FlowFile, ...], Field(min_length=1)]
    format: Literal[
        "auto", "unsw_nb15", "cicids2017", "ctu13", "zeek", "netflow_v2", "cicids2017_ml", "unsw_nb15_split"
    ] = "auto"
    split: Literal["train", "test"]
    scenario: str = ""
    #: The network, as ``vehicle`` is the bus of a CAN capture.
    vehicle: str
    base_capture: str
    attack: str = ""
    #: Only flows that start at or after the first and before the second of these days (UTC).
    between: tuple[str, str] | None = None
    #: Shares of the flows, in order of time, between which the capture lies: a temporal split of one recording.
    part: tuple[_Share, _Share] = (0.0, 1.0)
    #: The publisher drew single flows: neither rates nor who speaks beside whom are those of the network.
    sampled: bool = False

    @model_validator(mode="after")
    def _forwards(self) -> FlowSource:
        if self.part[0] >= self.part[1]:
            raise ValueError(f"part {self.part} is empty")
        return self


class FlowIngestConfig(Config):
    """Raw flow files → validated flows."""

    domain: Literal["flow"] = "flow"
    dataset: str
    sources: tuple[FlowSource, ...] = ()
    #: Attack flows that start closer than this belong to one event.
    event_gap_s: Annotated[float, Field(gt=0)] = 1.0
    #: A file with a larger share of malformed rows is refused; rows of separators alone are not counted.
    max_quarantined_share: _Share = 0.5
    #: Addresses give the label away (one machine attacks) and are personal data: a keyed permutation replaces them.
    pseudonymise: bool = True
    #: Key of the permutation. Whoever has the config can undo it; publish flows only with a seed you keep.
    host_seed: int = 0
