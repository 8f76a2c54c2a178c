"""What a message carries: fields packed into bytes, with counters and checksums as production networks have them.

Legend: n frames of one message, k their running number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from candor.ids.captures.synthetic.drive import RANGES, Drive

ByteArray = NDArray[np.uint8]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Constant:
    """A byte that never changes."""

    byte: int
    value: int


@dataclass(frozen=True)
class Physical:
    """A signal scaled into ``width`` bytes, high byte first."""

    byte: int
    width: int
    signal: str


@dataclass(frozen=True)
class Counter:
    """Counts frames modulo ``modulus``, in the low bits of a byte."""

    byte: int
    modulus: int


@dataclass(frozen=True)
class Multi:
    """Cycles through ``values``, each for ``dwell`` frames (a multiplexer, a status)."""

    byte: int
    values: tuple[int, ...]
    dwell: int


@dataclass(frozen=True)
class Checksum:
    """Over the other bytes and the ID: their XOR, or CRC-8 with polynomial 0x1D (SAE J1850)."""

    byte: int
    kind: Literal["xor", "crc8"]


Field = Constant | Physical | Counter | Multi | Checksum


@dataclass(frozen=True)
class Message:
    """One arbitration ID of a car.

    Attributes:
        period_s: nominal period; 0 for messages that are sent when something happens.
        jitter_s: standard deviation of the release time.
        role: what attacks look it up by ("rpm", "gear", "speed", ...), "" for the rest.
    """

    id: int
    dlc: int
    period_s: float
    jitter_s: float
    fields: tuple[Field, ...]
    role: str = ""


def _crc8_table() -> ByteArray:
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 0x80, (table << 1) ^ 0x1D, table << 1) & 0xFF
    return table.astype(np.uint8)


_CRC8: Final = _crc8_table()


def encode(message: Message, k: IntArray, t: FloatArray, drive: Drive) -> ByteArray:
    """Payloads u8[n, 8] of frames number ``k`` sent at ``t`` (s); bytes past the DLC are 0."""
    data = np.zeros((len(k), 8), dtype=np.uint8)
    for field in message.fields:
        match field:
            case Constant(byte, value):
                data[:, byte] = value
            case Counter(byte, modulus):
                data[:, byte] = (data[:, byte] & 0xF0 if modulus <= 16 else 0) | (k % modulus).astype(
                    np.uint8
                )
            case Multi(byte, values, dwell):
                data[:, byte] = np.array(values, dtype=np.uint8)[(k // dwell) % len(values)]
            case Physical():
                put(data, field, drive.at(field.signal, t))
            case Checksum():
                pass
    return seal(message, data)


def put(data: ByteArray, field: Physical, values: FloatArray) -> None:
    """Write physical ``values`` [n] into the field's bytes of ``data``, saturating at the signal's range."""
    low, high = RANGES[field.signal]
    top = 256**field.width - 1
    raw = np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * top).astype(np.int64)
    for i in range(field.width):
        data[:, field.byte + i] = (raw >> (8 * (field.width - 1 - i))) & 0xFF


def seal(message: Message, data: ByteArray) -> ByteArray:
    """Return ``data`` with the message's checksum byte, if it has one, set right."""
    for field in message.fields:
        if isinstance(field, Checksum):
            data[:, field.byte] = checksum(message, field, data)
    return data


def checksum(message: Message, field: Checksum, data: ByteArray) -> ByteArray:
    """Checksum u8[n] over the ID's low byte and all payload bytes but the checksum's own."""
    value = np.full(len(data), message.id & 0xFF, dtype=np.uint8)
    for byte in range(message.dlc):
        if byte != field.byte:
            value = value ^ data[:, byte] if field.kind == "xor" else _CRC8[value ^ data[:, byte]]
    return value


def physical(message: Message) -> Physical:
    """The first signal of a message: what an attacker forges."""
    return next(field for field in message.fields if isinstance(field, Physical))
