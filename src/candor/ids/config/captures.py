"""Captures: where they come from, how they are read, how the simulated ones are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from candor.config.base import Config, Runtime
from candor.ids.captures.flows.config import FlowIngestConfig
from candor.ids.config.types import PositiveInt, Share


class AttackInterval(Config):
    """One contiguous attack, in seconds since the capture's first frame.

    Attributes:
        id, payload: what the attack's frames look like (hexadecimal digits, X for any), if anything is said of them:
            those that fit are labelled, all other frames of the capture are benign.
    """

    attack: str
    t_start: float
    t_end: float
    id: Annotated[int, Field(ge=0)] | None = None
    payload: Annotated[str, Field(pattern=r"^[0-9A-FX]*$")] = ""

    @property
    def tells_frames(self) -> bool:
        """Whether single frames can be told to be the attack's."""
        return self.id is not None or bool(self.payload)


class Absence(Config):
    """Truth by absence: an attack lasts while an ID is silent for longer than attack-free captures of its vehicle allow.

    For attacks that remove frames, of which no frame is labelled, where nobody wrote their intervals down. The rule, and
    where its factor comes from: `candor.ids.captures.absence`.
    """

    kind: Literal["absence"] = "absence"
    #: Attack-free captures of the vehicle to measure by; empty: all that the dataset has.
    reference: tuple[str, ...] = ()
    #: Silence allowed, in longest silences of the reference, for every ID alike. None: measured on the reference, by ID.
    factor: Annotated[float, Field(ge=1)] | None = None
    #: Fewer frames of an ID in the reference tell nothing of its silences.
    min_frames: Annotated[int, Field(ge=3)] = 20


#: "auto" is told by content; the others are the names of captures.formats.FORMATS.
CaptureFormat: TypeAlias = Literal[
    "auto",
    "can_train_and_test",
    "hcrl_csv",
    "hcrl_txt",
    "candump",
    "candump_labelled",
    "candump_screen",
    "asc",
    "blf",
    "trc",
    "peak_csv",
    "mf4",
    "gvret",
    "usbcan",
    "crysys",
    "canedge_csv",
    "python_can_csv",
    "pcap",
    "road",
    "ciciov2024",
    "j1939",
]


class CaptureSource(Config):
    """One raw file and what is known of it without opening it."""

    #: Names files and table rows: letters, digits, ``.``, ``_``, ``-``.
    capture: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    path: Annotated[str, Runtime]  # Where it lies today; its content is what counts.
    sha256: str
    format: CaptureFormat = "auto"
    split: Literal["train", "test"]
    scenario: str = ""
    vehicle: str
    base_capture: str
    attack: str = ""
    #: What a format without labels means: ``benign`` where the publisher says the recording is attack-free.
    unlabelled_as: Literal["unknown", "benign"] = "unknown"
    #: Attack intervals known from elsewhere (an attack that removes frames labels none), or to be derived from absence;
    #: None: from frame labels.
    events: tuple[AttackInterval, ...] | Absence | None = None


class IngestConfig(Config):
    """Raw files → validated frames. ``sources`` is empty when a generate task feeds it."""

    dataset: str
    sources: tuple[CaptureSource, ...] = ()
    #: Attack frames closer than this belong to one event.
    event_gap_s: Annotated[float, Field(gt=0)] = 1.0
    #: A step back in time larger than this quarantines the row; smaller ones are kept and counted.
    max_backstep_s: Annotated[float, Field(ge=0)] = 1.0
    #: A file with a larger share of malformed rows is refused.
    max_quarantined_share: Share = 0.5
    workers: Annotated[PositiveInt, Runtime] = 2


def _ingest_kind(value: Any) -> Any:
    """Flows if the config says so: configs of bus captures, and so all keys made from them, stay as they were."""
    if isinstance(value, dict):
        return value.get("domain", "can")
    return "flow" if isinstance(value, FlowIngestConfig) else "can"


AnyIngest = Annotated[
    Annotated[IngestConfig, Tag("can")] | Annotated[FlowIngestConfig, Tag("flow")],
    Discriminator(
        _ingest_kind, custom_error_type="ingest_kind", custom_error_message="domain must be flow, or left out"
    ),
]


class SyntheticConfig(Config):
    """The bus simulator: vehicles, their captures and the attacks on them."""

    seed: int = 0
    #: The last of several is unknown: it occurs in tests only.
    vehicles: PositiveInt = 3
    ids_per_vehicle: Annotated[int, Field(ge=10, le=200)] = 24
    bitrate_bps: Annotated[int, Field(ge=250_000)] = 500_000
    #: Length of an attack-free capture.
    benign_s: Annotated[float, Field(ge=2)] = 60.0
    #: Length of a capture with attacks, which start after 12 s.
    attack_s: Annotated[float, Field(ge=15)] = 32.0
