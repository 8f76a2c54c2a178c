"""pcap and pcapng with SocketCAN frames: link types 227 (CAN_SOCKETCAN) and 113 (Linux cooked, protocol CAN or CANFD).

An identifier is big-endian in the first and in the byte order of the recording host in the second, as Wireshark has it.
Packets of other link types and protocols are no CAN frames. The channel is the interface's name, else its number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

import polars as pl

from candor.errors import CaptureUnreadable
from candor.ids.captures.format import Format
from candor.ids.captures.rows import RawRows

NAME: Final = "pcap"

_NG = b"\x0a\x0d\x0d\x0a"
#: First bytes of a pcap → byte order and fractions of a second.
_CLASSIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
_SOCKETCAN, _COOKED = 227, 113
_COOKED_BYTES, _COOKED_CAN, _COOKED_CANFD = 16, 0x000C, 0x000D
_EFF, _RTR, _ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000
_FD_BRS, _FD_ESI, _FD_FDF = 1, 2, 4
#: Packet blocks that no capture of today writes: the obsolete one, and the simple one, which has no time.
_UNTIMED: Final = (2, 3)
_BLOCK_FRAMES = 100_000
#: A block longer than this is damage: the largest frame takes 88 bytes.
_MAX_BLOCK_BYTES = 1 << 24

_SCHEMA: Final = {
    "line": pl.Int64,
    "raw": pl.String,
    "broken": pl.Boolean,
    "other": pl.Boolean,
    "t": pl.Float64,
    "id": pl.Int64,
    "data": pl.Binary,
    "dlc": pl.String,
    "channel": pl.String,
    "extended": pl.Boolean,
    "remote": pl.Boolean,
    "error": pl.Boolean,
    "fd": pl.Boolean,
    "brs": pl.Boolean,
    "esi": pl.Boolean,
}


def is_pcap(start: bytes) -> bool:
    """Whether the first bytes are those of a pcap or pcapng."""
    return start[:4] == _NG or start[:4] in _CLASSIC


@dataclass(frozen=True)
class _Link:
    kind: int
    name: str = ""
    ticks_per_s: int = 1_000_000
    offset_s: int = 0
    order: str = "<"


@dataclass
class _Section:
    order: str = "<"
    links: list[_Link] = field(default_factory=list)


def blocks(stream: BinaryIO, place: str) -> Iterator[RawRows]:
    """Raw rows; the line of a packet is its number. Raises CaptureUnreadable for a damaged file."""
    start = stream.read(4)
    stream.seek(0)
    if not is_pcap(start):
        raise _damaged(f"it starts {start.hex()}", place)
    packets = _next_generation(stream, place) if start == _NG else _classic(stream, place)
    rows = []
    for number, (link, ticks, packet) in enumerate(packets, start=1):
        rows.append((number, *_row(link, ticks, packet)))
        if len(rows) == _BLOCK_FRAMES:
            yield _raw(rows)
            rows = []
    yield _raw(rows)


def _raw(rows: list[tuple[object, ...]]) -> RawRows:
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return RawRows(table.with_columns(pl.col("data").bin.encode("hex")), None)


def _classic(stream: BinaryIO, place: str) -> Iterator[tuple[_Link, int, bytes]]:
    head = _exactly(stream, 24, place)
    order, per_s = _CLASSIC[head[:4]]
    link = _Link(struct.unpack_from(order + "I", head, 20)[0] & 0xFFFF, ticks_per_s=per_s, order=order)
    while head := stream.read(16):
        if len(head) < 16:
            raise _damaged("a packet header is cut", place)
        seconds, fraction, size, _ = struct.unpack(order + "4I", head)
        if size > _MAX_BLOCK_BYTES:
            raise _damaged(f"a packet of {size} bytes", place)
        yield link, seconds * per_s + fraction, _exactly(stream, size, place)


def _next_generation(stream: BinaryIO, place: str) -> Iterator[tuple[_Link, int, bytes]]:
    section = _Section()
    while head := stream.read(8):
        if len(head) < 8:
            raise _damaged("a block header is cut", place)
        if head[:4] == _NG:
            magic = _exactly(stream, 4, place)
            section = _Section("<" if magic == b"\x4d\x3c\x2b\x1a" else ">")
            body = magic + _exactly(stream, _size(section.order, head, place) - 16, place)
            kind = 0
        else:
            kind = struct.unpack_from(section.order + "I", head)[0]
            body = _exactly(stream, _size(section.order, head, place) - 12, place)
        _exactly(stream, 4, place)  # The length again.
        if kind == 1:
            section.links.append(_interface(section.order, body))
        elif kind == 6:
            yield _enhanced(section, body, place)
        elif kind in _UNTIMED:
            yield _Link(kind=-1), 0, body


def _size(order: str, head: bytes, place: str) -> int:
    size = int(struct.unpack_from(order + "I", head, 4)[0])
    if size < 16 or size > _MAX_BLOCK_BYTES or size % 4:
        raise _damaged(f"a block of {size} bytes", place)
    return size


def _interface(order: str, body: bytes) -> _Link:
    kind = struct.unpack_from(order + "H", body.ljust(2, b"\0"))[0]
    name, per_s, offset, at = "", 1_000_000, 0, 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "2H", body, at)
        value = body[at + 4 : at + 4 + size]
        if code == 2:
            name = value.decode("utf-8", errors="replace")
        elif code == 9 and value:
            power = value[0] & 0x7F
            per_s = 2**power if value[0] & 0x80 else 10 ** min(power, 18)
        elif code == 14 and len(value) == 8:
            offset = struct.unpack(order + "q", value)[0]
        elif code == 0:
            break
        at += 4 + (size + 3) // 4 * 4
    return _Link(kind, name, per_s, offset, order)


def _enhanced(section: _Section, body: bytes, place: str) -> tuple[_Link, int, bytes]:
    if len(body) < 20:
        raise _damaged("a packet block is cut", place)
    number, high, low, size, _ = struct.unpack_from(section.order + "5I", body)
    if number >= len(section.links) or size > len(body) - 20:
        raise _damaged(f"a packet of interface {number} with {size} bytes", place)
    link = section.links[number]
    named = link if link.name else replace(link, name=str(number))
    return named, high << 32 | low, body[20 : 20 + size]


def _row(link: _Link, ticks: int, packet: bytes) -> tuple[object, ...]:
    """Values of _SCHEMA behind line."""
    t = link.offset_s + ticks / link.ticks_per_s
    fd, order = False, ">"
    if link.kind == _COOKED and len(packet) >= _COOKED_BYTES:
        protocol = struct.unpack_from(">H", packet, 14)[0]
        fd, order = protocol == _COOKED_CANFD, link.order
        can, frame = protocol in (_COOKED_CAN, _COOKED_CANFD), packet[_COOKED_BYTES:]
    else:
        can, frame = link.kind == _SOCKETCAN, packet
    if not can or len(frame) < 8:
        return (packet[:64].hex(), can, not can, t, 0, b"", None, link.name, *(False,) * 6)
    ident, size, bits = struct.unpack_from(order + "IBB", frame)
    fd = fd or bool(bits & _FD_FDF) or len(frame) == 72
    remote, error = bool(ident & _RTR), bool(ident & _ERR)
    data = b"" if remote else frame[8 : 8 + size]  # Shorter than size where the packet was cut: dlc_mismatch.
    dlc = str(size if not remote else min(size, 8))
    plain = ident & 0x1FFF_FFFF
    brs, esi = fd and bool(bits & _FD_BRS), fd and bool(bits & _FD_ESI)
    flags = (bool(ident & _EFF), remote, error, fd, brs, esi)
    return (packet[:96].hex(), False, False, t, plain, data, dlc, link.name, *flags)


def _exactly(stream: BinaryIO, size: int, place: str) -> bytes:
    content = stream.read(size) if size else b""
    if len(content) < size:
        raise _damaged(f"{size - len(content)} bytes are missing at the end", place)
    return content


def _damaged(what: str, place: str) -> CaptureUnreadable:
    return CaptureUnreadable(f"pcap is damaged: {what}", place=place, hint="Fetch the file again.")


FORMAT: Final = Format(NAME, "pcap, pcapng with SocketCAN", ".pcap", blocks=blocks, is_binary=is_pcap)
