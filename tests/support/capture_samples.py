"""A small file of every format, made here: nothing of it was recorded by anybody."""

from __future__ import annotations

import io
import struct
import tempfile
import time
from base64 import b64encode
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

#: Frames of every sample: (seconds, id, payload).
FRAMES = [(1.5 + k / 100, 0x100 + k % 5, bytes(range(k % 9))) for k in range(24)]


def _lines(form: Any, head: str = "") -> bytes:
    return (head + "".join(form(t, i, d) + "\n" for t, i, d in FRAMES)).encode()


def _spaced(data: bytes) -> str:
    return data.hex(" ").upper()


def _candump(labels: str = "") -> bytes:
    odd = (
        f"(1.80) can1 123#R4{labels}\n(1.81) can0 18FEDF00#0011{labels}\n(1.82) can0 123##1AABB{labels}\n"
        f"(1.83) can0 20000004#0000000000000000{labels}\n"
    )
    return _lines(lambda t, i, d: f"({t:.6f}) can0 {i:03X}#{d.hex().upper()}{labels}") + odd.encode()


def _screen() -> bytes:
    odd = " (1.80)  can0  123   [4]  remote request\n (1.81)  can0  18FEDF00  [16]  " + "00 " * 15 + "00\n"
    return _lines(lambda t, i, d: f" ({t:010.6f})  can0  {i:03X}   [{len(d)}]  {_spaced(d)}") + odd.encode()


def _asc() -> bytes:
    head = "date Fri Feb 14 08:51:20.000 am 2020\nbase hex  timestamps absolute\n// made up\n"
    odd = (
        "   1.8000 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%\n   1.8100 1 ErrorFrame\n"
        "   1.8200 2 100 Tx r 8\n   1.8300 CANFD   2 Rx  300  Name_1  1 0 9  12 01 02 03 04 05 06 07 08 09 0A 0B 0C  5 6\n"
        "   1.8400 1 12345678x Rx d 10 " + "AB " * 16 + "\n"
    )
    return _lines(lambda t, i, d: f"   {t:.6f} 1  {i:X}  Rx   d {len(d)} {_spaced(d)}", head) + odd.encode()


def _trc(version: str) -> bytes:
    head = f";$FILEVERSION={version}\n;$STARTTIME=43874.5\n"
    if version == "2.1":
        head += ";$COLUMNS=N,O,T,B,I,d,R,L,D\n"
        odd = (
            "  90 1801.0 ST 1 - Rx - 4 00 00 00 08\n  91 1802.0 RR 1 0704 Rx - 1\n  92 1803.0 FB 1 12345678 Rx - 9 "
            + "AB " * 12
        )
        return (
            _lines(lambda t, i, d: f"  7 {t * 1e3:.3f} DT 1 {i:04X} Rx - {len(d)} {_spaced(d)}", head)
            + f"{odd}\n".encode()
        )
    odd = "    90)  1801.0  Warng  FFFFFFFF  4  00 00 00 08  BUSHEAVY\n    91)  1802.0  Rx  0704  1  RTR\n"
    return (
        _lines(lambda t, i, d: f"     7)  {t * 1e3:.1f}  Rx  {i:04X}  {len(d)}  {_spaced(d)}", head)
        + odd.encode()
    )


def _decimals(head: str, tail: str) -> bytes:
    return _lines(lambda t, i, d: f"{i}," + ",".join(str(b) for b in d.ljust(8, b"\0")) + tail, head)


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _j1939() -> bytes:
    return _parquet(
        pl.DataFrame(
            {
                "timestamp": [t for t, *_ in FRAMES],
                "iface": "can0",
                "can_id": [0x18FE_0000 + i for _, i, _ in FRAMES],
                "dlc": [len(d) for *_, d in FRAMES],
                "data": [d.hex() for *_, d in FRAMES],
                "label": ["flood" if k % 4 == 0 else "normal" for k in range(len(FRAMES))],
            }
        )
    )


def _pcap() -> bytes:
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 227)
    for t, i, d in FRAMES:
        frame = struct.pack(">IBBBB", i, len(d), 0, 0, 0) + d
        out += struct.pack("<4I", int(t), round(t % 1 * 1e6), len(frame), len(frame)) + frame
    return out


def _pcapng() -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body = body.ljust(-(-len(body) // 4) * 4, b"\0")
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(1, struct.pack("<HHI", 113, 0, 0))
    for t, i, d in FRAMES:
        fd = len(d) == 3
        cooked = struct.pack(">HHH8sH", 1, 280, 0, b"", 0x0D if fd else 0x0C)
        frame = cooked + struct.pack("<IBBBB", i, len(d), 5 if fd else 0, 0, 0) + d
        micros = round(t * 1e6)
        out += block(
            6, struct.pack("<5I", 0, micros >> 32, micros & 0xFFFFFFFF, len(frame), len(frame)) + frame
        )
    return out


def _python_can(suffix: str) -> bytes:
    import can
    import can.io.mf4

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(time.time(), tz or UTC)

    path = Path(tempfile.mkdtemp()) / f"sample{suffix}"
    # MF4 holds when it was written, in the times of its frames too: mutations of one seed would never be the same.
    with (
        patch("time.time", return_value=1.6e9),
        patch.object(can.io.mf4, "datetime", Then),
        can.Logger(path) as log,
    ):
        for t, i, d in FRAMES:
            log.on_message_received(
                can.Message(timestamp=1.6e9 + t, arbitration_id=i, data=d, is_extended_id=False, channel=1)
            )
    return path.read_bytes()


def _python_can_rows() -> bytes:
    head = "timestamp,arbitration_id,extended,remote,error,dlc,data\n"
    odd = (
        "1.8,0x123,0,1,0,4,\r\n1.81,0x18fedf00,1,0,0,2,ABE=\n1.82,0x4,1,0,1,8,AAAAAAAAAAA=\n"
        "1.8300000000000001,0x12,0,0,0,1,AA==\n"
    )
    return _lines(lambda t, i, d: f"{t!r},{i:#x},0,0,0,{len(d)},{b64encode(d).decode()}", head) + odd.encode()


@cache
def samples() -> dict[str, list[bytes]]:
    """Files by format."""
    peak = "$STARTTIME=43874.5\n\nNumber Time (ms) Bus Direction Type ID (hex) Reserved Length D0 D1...\n"
    canedge = "TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;DataBytes\n"
    cic = "ID," + ",".join(f"DATA_{k}" for k in range(8)) + ",label,category,specific_class\n"
    road = pl.DataFrame(
        {"id": [i for _, i, _ in FRAMES], **{f"data_{k}": k for k in range(8)}, "label": [1.0] * len(FRAMES)}
    )
    return {
        "can_train_and_test": [
            _lines(
                lambda t, i, d: f"{t:.6f},{i:X},{d.hex()},0", "timestamp,arbitration_id,data_field,attack\n"
            )
        ],
        "hcrl_csv": [_lines(lambda t, i, d: f"{t:.6f},{i:04x},{len(d)},{''.join(f'{b:02x},' for b in d)}T")],
        "hcrl_txt": [
            _lines(
                lambda t, i, d: (
                    f"Timestamp: {t:17.6f}        ID: {i:04x}    000    DLC: {len(d)}    {d.hex(' ')}"
                )
            )
        ],
        "candump": [_candump()],
        "candump_labelled": [_candump(" True\tFalse")],
        "candump_screen": [_screen()],
        "asc": [_asc()],
        "blf": [_python_can(".blf")],
        "trc": [_trc("1.1"), _trc("2.1")],
        "peak_csv": [
            _lines(lambda t, i, d: f"7 {t * 1e3:.3f} 1 Rx DT {i:04X} - {len(d)} {_spaced(d)}", peak)
        ],
        "mf4": [_python_can(".mf4")],
        "gvret": [
            _lines(
                lambda t, i, d: (
                    f"{t * 1e6:.0f},{i:08X},false,Rx,0,{len(d)},{','.join(f'{b:02X}' for b in d)},"
                ),
                "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n",
            )
        ],
        "usbcan": [
            _lines(
                lambda t, i, d: (
                    f"7\tReceive\t 16:22:{t + 5:06.3f}.0\t0x{i:08x}\tData\tExtend\t{len(d)}\t{_spaced(d)} \r"
                ),
                "Index\tDirection\tTimesteamp\tID\tFormat\tType\tLength\tData\t\r\n",
            )
        ],
        "crysys": [_lines(lambda t, i, d: f"{t:.6f}        {i:04x}    000    {len(d)}    {d.hex(' ')}")],
        "canedge_csv": [
            _lines(lambda t, i, d: f"{t:.6f};1;{i:X};0;{len(d)};{len(d)};0;0;0;{d.hex().upper()}", canedge)
        ],
        "python_can_csv": [_python_can(".csv"), _python_can_rows()],
        "pcap": [_pcap(), _pcapng()],
        "road": [_decimals("", ",1"), _parquet(road)],
        "ciciov2024": [_decimals(cic, ",ATTACK,DOS,DoS")],
        "j1939": [_j1939()],
    }
