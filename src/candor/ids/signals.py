"""Names for bytes: a DBC file says which signal lies where in which message (``EngineRPM``, not ``0x316[2:4]``).

Optional: without a DBC, or for a message that it does not know, everything falls back to ID and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from candor.errors import DataError, ExtraMissing, SourceMissing
from candor.ids.captures.frames import ERROR, EXTENDED, MAX_EXTENDED_ID, MAX_STANDARD_ID, REMOTE

if TYPE_CHECKING:
    from cantools.database.can import Message

DECODED: Final = {
    "timestamp": pl.Float64(),
    "message": pl.String(),
    "signal": pl.String(),
    "value": pl.Float64(),
    "unit": pl.String(),
}


@dataclass(frozen=True)
class Signal:
    """One signal of a message. ``first_byte`` to ``last_byte``: bytes it touches, both included."""

    name: str
    message: str
    unit: str
    first_byte: int
    last_byte: int


@dataclass(frozen=True)
class Dbc:
    """A loaded DBC file; see ``load``."""

    path: Path
    messages: tuple[Message, ...]

    @cached_property
    def _by_id(self) -> Mapping[tuple[int, bool], Message]:
        return {(m.frame_id, bool(m.is_extended_frame)): m for m in self.messages}

    @cached_property
    def _by_pgn(self) -> Mapping[int, Message]:
        return {_pgn(m.frame_id): m for m in self.messages if m.protocol == "j1939"}

    def message(self, identifier: int, *, extended: bool = False) -> Message | None:
        """The message of an ID. A J1939 message answers whatever its priority, source and destination are."""
        found = self._by_id.get((identifier, extended))
        return found or (self._by_pgn.get(_pgn(identifier)) if extended else None)


def load(path: Path) -> Dbc:
    """Read a DBC file (or KCD, ARXML, SYM). Raises ExtraMissing, SourceMissing, or DataError for a broken file."""
    try:
        import cantools
        from cantools.database.errors import Error
    except ImportError as e:
        raise ExtraMissing("cantools is not installed", hint="Install candor[dbc].") from e
    try:
        database = cantools.database.load_file(path, strict=False)
    except OSError as e:
        raise SourceMissing(f"no DBC file: {e.strerror}", place=str(path)) from e
    except (Error, UnicodeDecodeError) as e:
        raise DataError(f"not a DBC file that can be read: {e}", place=str(path)) from e
    messages = getattr(database, "messages", None)
    if not messages:
        raise DataError("the DBC file holds no CAN message", place=str(path), hint="Name the bus's own DBC.")
    return Dbc(path, tuple(messages))


def _pgn(identifier: int) -> int:
    """Parameter group of a 29-bit ID (SAE J1939-21): below 0xF000 its low byte is a destination, no part of it."""
    group = (identifier >> 8) & 0x3FFFF
    return group & 0x3FF00 if (group >> 8) & 0xFF < 240 else group


def signal_names(dbc: Dbc, identifier: int, *, extended: bool = False) -> tuple[Signal, ...]:
    """Signals of an ID in the order of their bytes; empty for an ID that the file does not know."""
    message = dbc.message(identifier, extended=extended)
    if message is None:
        return ()
    found = [_signal(message.name, s) for s in message.signals]
    return tuple(sorted(found, key=lambda s: (s.first_byte, s.last_byte, s.name)))


def _signal(message: str, signal: Any) -> Signal:
    """Bit 8·b + k is bit k of byte b. Motorola signals start at their highest bit and run into later bytes."""
    start, length = int(signal.start), int(signal.length)
    first = start // 8
    if signal.byte_order == "little_endian":
        last = (start + length - 1) // 8
    else:
        left_in_first = start % 8 + 1
        last = first + max(0, -(-(length - left_in_first) // 8))
    return Signal(signal.name, message, signal.unit or "", first, last)


def label(
    dbc: Dbc | None, identifier: int, first_byte: int, stop_byte: int, *, extended: bool = False
) -> str:
    """What a display calls bytes ``[first_byte, stop_byte)`` of an ID: their signals, else ``0x316[2:4]``."""
    own = signal_names(dbc, identifier, extended=extended) if dbc else ()
    names = [s.name for s in own if s.first_byte < stop_byte and s.last_byte >= first_byte]
    return ", ".join(names) or f"0x{identifier:X}[{first_byte}:{stop_byte}]"


@dataclass(frozen=True)
class SignalNames:
    """What a display calls IDs and bytes of a data set. Without any DBC everything falls back to numbers.

    Attributes:
        buses: vehicle → its DBC; "" is that of every vehicle without one of its own.
    """

    buses: Mapping[str, Dbc] = field(default_factory=dict)

    def label(
        self, arbitration_id: int, byte_range: tuple[int, int] | None = None, *, vehicle: str = ""
    ) -> str:
        """Name of an ID, or of some of its bytes.

        Args:
            arbitration_id: the ID, or its key as graphs and vocabularies hold it (bit 29 set for a 29-bit ID); a
                number of more than 11 bits is a 29-bit ID either way.
            byte_range: first byte, and the one behind the last. None: the whole message.
            vehicle: whose DBC to ask.

        Returns:
            ``EngineRPM`` or ``EngineRPM, Torque`` for bytes that signals touch, ``ENGINE`` for a whole message;
            ``0x316[2:4]`` or ``0x316`` for what no DBC knows.
        """
        extended = arbitration_id > MAX_STANDARD_ID
        identifier = arbitration_id & MAX_EXTENDED_ID
        dbc = self.buses.get(vehicle, self.buses.get(""))
        if byte_range is not None:
            return label(dbc, identifier, *byte_range, extended=extended)
        message = dbc.message(identifier, extended=extended) if dbc else None
        return message.name if message else f"0x{identifier:X}"

    def __bool__(self) -> bool:
        """Whether there is any DBC to ask."""
        return bool(self.buses)


def load_names(declared: Mapping[str, Path], override: Path | None = None) -> SignalNames:
    """Names from the DBC files of vehicles, or from one file for all of them that a person named.

    Raises ExtraMissing, SourceMissing, DataError as ``load``.
    """
    if override is not None:
        return SignalNames({"": load(override)})
    loaded = {path: load(path) for path in set(declared.values())}
    return SignalNames({vehicle: loaded[path] for vehicle, path in declared.items()})


@dataclass(frozen=True)
class Decoded:
    """Signals of a capture.

    Attributes:
        values: DECODED, one row per frame and signal, in frame order. Named values (``P``, ``R``) are numbers here.
        unknown: ID (``0x1F`` or ``0x18FEF1FE``) → frames that the file has no message for.
        short: message → frames whose payload is too short for it.
    """

    values: pl.DataFrame
    unknown: dict[str, int]
    short: dict[str, int]


def decode(dbc: Dbc, table: pl.DataFrame) -> Decoded:
    """Decode a frame table (FRAME_SCHEMA). Each distinct payload is decoded once."""
    kept = table.filter((pl.col("flags") & (REMOTE | ERROR)) == 0).with_row_index("row")
    distinct = kept.select("id", pl.col("flags") & EXTENDED, "data").unique(maintain_order=True)
    unknown: dict[str, int] = {}
    short: dict[str, int] = {}
    rows: list[tuple[int, int, bytes, str, str, float, str]] = []
    counts = kept.group_by("id", pl.col("flags") & EXTENDED, "data").len()
    count_of = {(i, f, d): n for i, f, d, n in counts.iter_rows()}
    for identifier, flag, payload in distinct.iter_rows():
        frames = count_of[identifier, flag, payload]
        message = dbc.message(identifier, extended=bool(flag))
        if message is None:
            name = f"0x{identifier:X}"
            unknown[name] = unknown.get(name, 0) + frames
            continue
        values = _values(message, payload)
        if values is None:
            short[message.name] = short.get(message.name, 0) + frames
            continue
        units = {s.name: s.unit or "" for s in message.signals}
        rows += [(identifier, flag, payload, message.name, n, v, units[n]) for n, v in values.items()]
    return Decoded(_join(kept, rows), unknown, short)


def _values(message: Message, payload: bytes) -> dict[str, float] | None:
    """Signal → number; None for a payload that is too short."""
    from cantools.database.errors import DecodeError

    try:
        decoded = message.decode(payload, decode_choices=False, allow_truncated=False)
    except (DecodeError, ValueError):
        return None
    return (
        {name: float(v) for name, v in decoded.items() if isinstance(v, int | float)}
        if isinstance(decoded, dict)
        else {}
    )


def _join(kept: pl.DataFrame, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {
        "id": pl.UInt32,
        "flags": pl.UInt8,
        "data": pl.Binary,
        "message": pl.String,
        "signal": pl.String,
    }
    values = pl.DataFrame(rows, schema={**schema, "value": pl.Float64, "unit": pl.String}, orient="row")
    keyed = kept.select("row", "timestamp", "id", pl.col("flags") & EXTENDED, "data")
    joined = keyed.join(values, on=["id", "flags", "data"], maintain_order="left")
    return joined.select(*DECODED)


def summary(values: pl.DataFrame) -> pl.DataFrame:
    """Decoded values → one row per signal: message, signal, unit, frames, min, mean, max."""
    value = pl.col("value")
    return values.group_by("message", "signal", "unit", maintain_order=True).agg(
        frames=pl.len(), min=value.min(), mean=value.mean(), max=value.max()
    )
